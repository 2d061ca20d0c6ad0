"""API keys in /v1."""
