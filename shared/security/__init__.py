"""Secrets, and whom and what to trust."""
