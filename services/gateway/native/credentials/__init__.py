"""Stored credentials in /v1."""
