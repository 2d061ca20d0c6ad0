"""Subscriptions: stores once the context that their messages repeat (ADR 25)."""
