"""Clips of live jobs."""
