"""Errors that end an RTMP connection."""

from __future__ import annotations

from shared.errors import ReelayError


class RtmpError(ReelayError):
    """The connection has to end; the message never contains a key."""


class ProtocolError(RtmpError):
    """The peer violated the RTMP protocol."""


class LimitExceeded(RtmpError):  # noqa: N818  named for what happened, as its siblings are
    """The peer exceeded a limit."""


class PeerTimeout(RtmpError):  # noqa: N818  as above
    """The peer did not do the expected in time."""


class PeerGone(RtmpError):  # noqa: N818  as above
    """The peer closed or lost the connection."""
