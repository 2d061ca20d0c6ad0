"""Destinations of files: from what a client names to what the exporter is told."""
