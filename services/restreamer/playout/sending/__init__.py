"""Sends what was read, each unit at its time."""
