"""Webhooks and deliveries in /v1."""
