"""Receivers of webhooks."""
