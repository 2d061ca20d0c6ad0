"""Posters and thumbnails of clips."""
