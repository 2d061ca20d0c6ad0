"""Callers: API keys, their scopes and accounts, and stored credentials."""
