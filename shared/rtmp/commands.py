"""Decoding RTMP commands and data messages (RTMP 1.0, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from shared.rtmp.amf import decode
from shared.rtmp.chunks import COMMAND_AMF0, COMMAND_AMF3, DATA_AMF3, Message
from shared.rtmp.cursor import Value
from shared.rtmp.errors import ProtocolError

COMMANDS = (COMMAND_AMF0, COMMAND_AMF3)


class Command(NamedTuple):
    """A command message: its name, transaction id, and all further values."""

    name: str
    transaction: float
    values: list[Value]
    stream_id: int

    def text(self, index: int) -> str:
        """Return a text value; empty when it is missing or not text."""
        value = self.values[index] if index < len(self.values) else None
        return value if isinstance(value, str) else ""

    def mapping(self, index: int) -> Mapping[str, Value]:
        """Return an object value; empty when it is missing or not an object."""
        value = self.values[index] if index < len(self.values) else None
        return value if isinstance(value, Mapping) else {}


def read_values(message: Message, *, depth: int = 16, values: int = 1024, strict: bool = True) -> list[Value]:
    """Decode a command or data message, in AMF0 or in the AMF3 wrapper (a zero byte, then AMF0)."""
    body = bytes(message.payload)
    if message.kind in (COMMAND_AMF3, DATA_AMF3):
        body = body[1:]
    return decode(body, depth=depth, values=values, strict=strict)


def read_command(message: Message, *, depth: int = 16, values: int = 1024) -> Command:
    """Decode a command message; raises ProtocolError when it has no name."""
    said = read_values(message, depth=depth, values=values)
    if not said or not isinstance(said[0], str):
        raise ProtocolError("command without a name")
    transaction = said[1] if len(said) > 1 else None
    number = transaction if isinstance(transaction, float) else 0.0
    return Command(said[0], number, said[2:], message.stream_id)
