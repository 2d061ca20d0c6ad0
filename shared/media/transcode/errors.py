"""Reasons why media cannot be decoded or encoded."""

from __future__ import annotations

from shared.errors import MediaError


class TranscodeError(MediaError):
    """A decoder or an encoder fails."""


class Undecodable(TranscodeError):  # noqa: N818  names the finding
    """There is no decoder for a track, or the track exceeds the limits; the message is for people."""
