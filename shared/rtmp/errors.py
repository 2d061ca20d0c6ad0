"""Why an RTMP connection ends before its publisher wanted it to."""

from __future__ import annotations

from shared.errors import ReelayError


class RtmpError(ReelayError):
    """A connection that has to end; the message never holds a key."""


class ProtocolError(RtmpError):
    """The peer sent what RTMP does not allow."""


class LimitExceeded(RtmpError):  # noqa: N818  named for what happened, as its siblings are
    """The peer asked for more than the limits give."""


class PeerTimeout(RtmpError):  # noqa: N818  as above
    """The peer did not do in time what was waited for."""


class PeerGone(RtmpError):  # noqa: N818  as above
    """The peer closed or lost the connection."""
