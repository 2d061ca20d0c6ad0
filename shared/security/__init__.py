"""Secrets, and checks of peers, addresses and URLs."""
