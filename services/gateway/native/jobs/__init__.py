"""Live jobs in /v1."""
