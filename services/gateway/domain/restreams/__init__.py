"""Restreams: lists of files played out as live streams."""
