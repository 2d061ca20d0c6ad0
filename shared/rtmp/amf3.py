"""AMF3, which a command may switch to (Adobe, "AMF 3 Specification", 2013); only reading is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.rtmp.cursor import Cursor, Value
from shared.rtmp.errors import LimitExceeded, ProtocolError


@dataclass(frozen=True, slots=True)
class _Traits:
    """The members of a class's objects."""

    names: tuple[str, ...]
    dynamic: bool


class Amf3Reader:
    """Reads one AMF3 value with its reference tables.

    Object references are read as None (an object could contain itself); string and trait references are resolved.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._strings: list[str] = []
        self._traits: list[_Traits] = []

    def read(self) -> Value:
        """Read a value; raises ProtocolError or LimitExceeded."""
        self._cursor.count()
        marker = self._cursor.number(1)
        reader = _READERS.get(marker)
        if reader is None:
            raise ProtocolError("unknown AMF3 marker")
        self._cursor.enter()
        value = reader(self)
        self._cursor.leave()
        return value

    def _u29(self) -> int:
        value = 0
        for _ in range(3):
            byte = self._cursor.number(1)
            if byte < 0x80:
                return value << 7 | byte
            value = value << 7 | byte & 0x7F
        return value << 8 | self._cursor.number(1)

    def _integer(self) -> Value:
        value = self._u29()
        return float(value - (1 << 29) if value >= 1 << 28 else value)

    def _double(self) -> Value:
        return self._cursor.double()

    def _string(self) -> str:
        head = self._u29()
        if not head & 1:
            if head >> 1 >= len(self._strings):
                raise ProtocolError("AMF3 string reference out of range")
            return self._strings[head >> 1]
        text = self._cursor.text(head >> 1)
        if text:
            self._strings.append(text)
        return text

    def _blob(self) -> bytes | None:
        head = self._u29()
        return self._cursor.take(head >> 1) if head & 1 else None

    def _xml(self) -> Value:
        raw = self._blob()
        return None if raw is None else raw.decode("utf-8", "replace")

    def _date(self) -> Value:
        return self._cursor.double() if self._u29() & 1 else None

    def _array(self) -> Value:
        head = self._u29()
        if not head & 1:
            return None
        if head >> 1 > self._cursor.values:
            raise LimitExceeded("too many AMF values")
        members = self._dynamic_members()
        dense = [self.read() for _ in range(head >> 1)]
        if not members:
            return dense
        return {**members, **{str(index): item for index, item in enumerate(dense)}}

    def _dynamic_members(self) -> dict[str, Value]:
        members: dict[str, Value] = {}
        while name := self._string():
            members[name] = self.read()
        return members

    def _object(self) -> Value:
        head = self._u29()
        if not head & 1:
            return None
        traits = self._read_traits(head >> 1)
        members = {name: self.read() for name in traits.names}
        if traits.dynamic:
            members.update(self._dynamic_members())
        return members

    def _read_traits(self, head: int) -> _Traits:
        if not head & 1:
            if head >> 1 >= len(self._traits):
                raise ProtocolError("AMF3 traits reference out of range")
            return self._traits[head >> 1]
        if head & 2:
            raise ProtocolError("AMF3 externalizable objects are not supported")
        if head >> 3 > self._cursor.values:
            raise LimitExceeded("too many AMF values")
        self._string()  # the class name
        traits = _Traits(tuple(self._string() for _ in range(head >> 3)), bool(head & 4))
        self._traits.append(traits)
        return traits


_READERS: dict[int, Callable[[Amf3Reader], Value]] = {
    0: lambda _: None,
    1: lambda _: None,
    2: lambda _: False,
    3: lambda _: True,
    4: Amf3Reader._integer,  # noqa: SLF001  the table belongs to the class
    5: Amf3Reader._double,  # noqa: SLF001
    6: Amf3Reader._string,  # noqa: SLF001
    7: Amf3Reader._xml,  # noqa: SLF001
    8: Amf3Reader._date,  # noqa: SLF001
    9: Amf3Reader._array,  # noqa: SLF001
    10: Amf3Reader._object,  # noqa: SLF001
    11: Amf3Reader._xml,  # noqa: SLF001
    12: Amf3Reader._blob,  # noqa: SLF001
}
