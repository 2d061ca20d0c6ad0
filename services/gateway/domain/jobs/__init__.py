"""Live jobs."""
