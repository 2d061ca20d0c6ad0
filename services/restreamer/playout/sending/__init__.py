"""What was read leaves at its time."""
