"""Restreams in /v1."""
