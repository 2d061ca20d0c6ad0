"""Subscriptions: what their messages repeat is stored here once (ADR 25)."""
