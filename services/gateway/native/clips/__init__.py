"""Clips in /v1."""
