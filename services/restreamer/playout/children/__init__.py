"""Decodes and encodes untrusted media in child processes (ADR 16)."""
