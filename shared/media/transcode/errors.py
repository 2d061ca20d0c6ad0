"""Why media cannot be decoded or encoded."""

from __future__ import annotations

from shared.errors import MediaError


class TranscodeError(MediaError):
    """A decoder or an encoder does not do what it is needed for."""


class Undecodable(TranscodeError):  # noqa: N818  names the finding
    """There is no decoder for a track, or it is larger than what is decoded; the message is for people."""
