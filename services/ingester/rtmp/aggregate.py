"""Aggregate messages (RTMP 1.0, section 7.1.6): several messages in one, as FLV tags."""

from __future__ import annotations

from shared.rtmp import flv
from shared.rtmp.chunks import Message
from shared.rtmp.errors import ProtocolError


def split_aggregate(message: Message) -> list[Message]:
    """Return the audio, video and data messages inside.

    Their timestamps are shifted so that the first one equals the aggregate's. Raises ProtocolError when cut short.
    """
    payload, found = message.payload, []
    at, shift = 0, None
    while at < len(payload):
        if at + flv.HEADER > len(payload):
            raise ProtocolError("aggregate message is cut short")
        tag = flv.read_header(payload, at)
        begin, end = at + flv.HEADER, at + flv.HEADER + tag.size
        if end > len(payload):
            raise ProtocolError("aggregate message is cut short")
        if shift is None:
            shift = message.timestamp - tag.timestamp
        if tag.kind in flv.KINDS:
            inner = tag.timestamp + shift & 0xFFFFFFFF
            found.append(Message(tag.kind, inner, message.stream_id, payload[begin:end]))
        at += tag.whole
    return found
