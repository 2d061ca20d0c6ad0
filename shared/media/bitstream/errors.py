"""Errors of bitstream code."""

from __future__ import annotations

from shared.errors import MediaError


class BitstreamError(MediaError):
    """A video header is cut short, makes no sense, or uses an unsupported feature."""
