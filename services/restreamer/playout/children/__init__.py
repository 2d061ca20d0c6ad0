"""Decoding and encoding strangers' media in children (ADR 16)."""
