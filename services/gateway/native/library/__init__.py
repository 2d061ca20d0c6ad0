"""The library in /v1."""
