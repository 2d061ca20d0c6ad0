"""SRT targets."""
