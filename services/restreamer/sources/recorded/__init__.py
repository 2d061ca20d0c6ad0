"""Recordings and running events of ours as sources."""
