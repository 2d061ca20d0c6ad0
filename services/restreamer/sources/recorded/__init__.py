"""Reelay's own recordings and running live events as sources."""
