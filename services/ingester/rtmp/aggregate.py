"""Aggregate messages (RTMP 1.0, section 7.1.6): several messages in one, in the form of FLV tags."""

from __future__ import annotations

from shared.rtmp.chunks import AUDIO, DATA_AMF0, VIDEO, Message
from shared.rtmp.errors import ProtocolError

_HEADER, _BACK_POINTER = 11, 4
_INNER = frozenset({AUDIO, VIDEO, DATA_AMF0})


def split_aggregate(message: Message) -> list[Message]:
    """Return the audio, video and data messages inside.

    Their times are shifted so that the first one's is the aggregate's own. Raises ProtocolError when cut short.
    """
    payload, found = message.payload, []
    at, shift = 0, None
    while at < len(payload):
        if at + _HEADER > len(payload):
            raise ProtocolError("aggregate message is cut short")
        size = int.from_bytes(payload[at + 1 : at + 4], "big")
        timestamp = int.from_bytes(payload[at + 4 : at + 7], "big") | payload[at + 7] << 24
        begin, end = at + _HEADER, at + _HEADER + size
        if end > len(payload):
            raise ProtocolError("aggregate message is cut short")
        if shift is None:
            shift = message.timestamp - timestamp
        if payload[at] in _INNER:
            inner = timestamp + shift & 0xFFFFFFFF
            found.append(Message(payload[at], inner, message.stream_id, payload[begin:end]))
        at = end + _BACK_POINTER
    return found
