"""Ordered lists of records."""
