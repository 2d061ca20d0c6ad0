"""Decides what plays, and what comes next."""
