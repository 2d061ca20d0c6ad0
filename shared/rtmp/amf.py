"""AMF0, the encoding of RTMP commands and metadata (Adobe, "Action Message Format - AMF 0", 2007).

A value is None (null, undefined, references), bool, float, str, bytes, a list (strict arrays) or a dict (objects,
typed objects, ECMA arrays). Dates are read as their milliseconds since the epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from shared.rtmp.amf3 import Amf3Reader
from shared.rtmp.cursor import Cursor, Value
from shared.rtmp.errors import LimitExceeded, ProtocolError

NUMBER, BOOLEAN, STRING, OBJECT, NULL, UNDEFINED, REFERENCE = 0, 1, 2, 3, 5, 6, 7
ECMA_ARRAY, OBJECT_END, STRICT_ARRAY, DATE, LONG_STRING = 8, 9, 10, 11, 12
UNSUPPORTED, XML_DOCUMENT, TYPED_OBJECT, AVMPLUS = 13, 15, 16, 17

_NUMBER = struct.Struct(">Bd")


class EcmaArray(dict[str, Value]):
    """A mapping that is written as an ECMA array, as in onMetaData."""


def decode(data: bytes, *, depth: int = 16, values: int = 1024, strict: bool = True) -> list[Value]:
    """Read all values of a message body; raises ProtocolError on a bad one, LimitExceeded past the limits.

    When not `strict`, returns the values before the bad one instead.
    """
    cursor = Cursor(data, depth=depth, values=values)
    found: list[Value] = []
    try:
        while cursor.left:
            found.append(_read(cursor))
    except (ProtocolError, LimitExceeded):
        if strict:
            raise
    return found


def _read(cursor: Cursor) -> Value:
    cursor.count()
    marker = cursor.number(1)
    if marker in _NESTED:
        cursor.enter()
        value = _NESTED[marker](cursor)
        cursor.leave()
        return value
    return _scalar(cursor, marker)


def _scalar(cursor: Cursor, marker: int) -> Value:
    value: Value = None
    if marker in (NUMBER, DATE):
        value = cursor.double()
        cursor.take(2 if marker == DATE else 0)  # the time zone, always 0
    elif marker == BOOLEAN:
        value = cursor.number(1) != 0
    elif marker in (STRING, LONG_STRING, XML_DOCUMENT):
        value = cursor.text(cursor.number(2 if marker == STRING else 4))
    elif marker == REFERENCE:
        cursor.take(2)
    elif marker not in (NULL, UNDEFINED, UNSUPPORTED):
        raise ProtocolError("unknown AMF0 marker")
    return value


def _object(cursor: Cursor) -> dict[str, Value]:
    members: dict[str, Value] = {}
    while True:
        name = cursor.text(cursor.number(2))
        if not name and cursor.left and cursor.data[cursor.pos] == OBJECT_END:
            cursor.take(1)
            return members
        members[name] = _read(cursor)


def _ecma_array(cursor: Cursor) -> Value:
    cursor.take(4)  # a length hint, often wrong
    return _object(cursor)


def _typed_object(cursor: Cursor) -> Value:
    cursor.text(cursor.number(2))
    return _object(cursor)


def _strict_array(cursor: Cursor) -> Value:
    length = cursor.number(4)
    if length > cursor.values:
        raise LimitExceeded("too many AMF values")
    return [_read(cursor) for _ in range(length)]


def _avmplus(cursor: Cursor) -> Value:
    return Amf3Reader(cursor).read()


_NESTED = {
    OBJECT: _object,
    ECMA_ARRAY: _ecma_array,
    STRICT_ARRAY: _strict_array,
    TYPED_OBJECT: _typed_object,
    AVMPLUS: _avmplus,
}


def encode(*values: Value) -> bytes:
    """Write values one after the other; int is written as a number, bytes as a string."""
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Value) -> None:
    match value:
        case None:
            out.append(NULL)
        case bool():
            out += bytes((BOOLEAN, value))
        case float() | int():
            out += _NUMBER.pack(NUMBER, value)
        case str():
            _write_text(out, value.encode("utf-8", "replace"))
        case bytes():
            _write_text(out, value)
        case EcmaArray():
            out.append(ECMA_ARRAY)
            out += len(value).to_bytes(4, "big")
            _write_members(out, value)
        case Mapping():
            out.append(OBJECT)
            _write_members(out, value)
        case _:
            out.append(STRICT_ARRAY)
            out += len(value).to_bytes(4, "big")
            for item in value:
                _write(out, item)


def _write_text(out: bytearray, raw: bytes) -> None:
    if len(raw) <= 0xFFFF:
        out.append(STRING)
        out += len(raw).to_bytes(2, "big")
    else:
        out.append(LONG_STRING)
        out += len(raw).to_bytes(4, "big")
    out += raw


def _write_members(out: bytearray, members: Mapping[str, Value]) -> None:
    for name, value in members.items():
        raw = name.encode("utf-8", "replace")[:0xFFFF]
        out += len(raw).to_bytes(2, "big") + raw
        _write(out, value)
    out += b"\x00\x00\x09"
