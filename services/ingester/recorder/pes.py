"""PES packets out of TS packets (ISO/IEC 13818-1, 2.4.3.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod

MAX_PES = 16 << 20
PAYLOAD = 184
# Of a packet's first four bytes as a number (2.4.3.2).
START, SCRAMBLED, ADAPTED, HAS_PAYLOAD = 0x400000, 0xC0, 0x20, 0x10


def payload_of(word: int, body: bytes) -> bytes:
    """Give a packet's payload, behind its adaptation field; nothing of a scrambled one."""
    if word & SCRAMBLED or not word & HAS_PAYLOAD:
        return b""
    return body[1 + body[0] :] if word & ADAPTED else body


def is_stuffed(body: bytes) -> bool:
    """Tell whether a packet's adaptation field fills up the packet, as it does where a PES packet ends."""
    size = body[0]
    if not size:
        return True
    flags = body[1]
    clocks = 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return bool(flags & 3) or size > 1 + clocks


class Pes(ABC):
    """Puts the PES packets of one PID together; one that lost bytes is dropped and counted in `damaged`."""

    def __init__(self) -> None:
        self.damaged = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._counter = -1
        self._stuffed = False

    @abstractmethod
    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:
        """Take a whole PES packet whose payload begins at `at`, with its time stamps (90 kHz, 33 bits)."""

    def lost(self) -> None:  # noqa: B027  most tracks have nothing to forget
        """Hear that bytes have been lost."""

    def take(self, word: int, body: bytes, count: int) -> None:
        """Take a TS packet: its first four bytes as a number, and the rest; or the rests of `count` that follow it."""
        payload = payload_of(word, body)
        counter = word & 15
        if not payload:
            return
        if counter != (self._counter + 1) & 15 and self._counter >= 0:
            if not self._is_repeated(counter, payload):
                self._drop()
            elif count == 1:
                return
            else:
                payload, counter, count = payload[PAYLOAD:], counter + 1, count - 1
        self._counter = (counter + count - 1) & 15
        if word & START:
            self._begin(payload)
        elif not self._parts:
            return
        self._parts.append(payload)
        self._size += len(payload)
        self._stuffed = word & ADAPTED != 0 and is_stuffed(body)
        if self._wanted and self._size >= self._wanted:
            self.finish()
        elif self._size > MAX_PES:
            self._parts.clear()
            self._size = 0
            self.damaged += 1

    def _is_repeated(self, counter: int, payload: bytes) -> bool:
        """Tell a packet sent twice (2.4.3.3) from one that comes after a loss."""
        return counter == self._counter and bool(self._parts) and self._parts[-1].endswith(payload[:PAYLOAD])

    def _begin(self, payload: bytes) -> None:
        """End the PES packet before, and read how long the new one is; 0 when it does not say."""
        self.finish()
        size = payload[4] << 8 | payload[5] if len(payload) > 6 else 0
        self._wanted = size + 6 if size else 0

    def finish(self, *, at_end: bool = False) -> None:
        """End the PES packet in hand.

        At the end of the stream one of unknown length is whole only when its last TS packet was stuffed.
        """
        if not self._parts:
            return
        whole = self._size >= self._wanted if self._wanted else self._stuffed or not at_end
        data = b"".join(self._parts)
        if self._wanted:
            data = data[: self._wanted]
        self._parts.clear()
        self._size = 0
        header = 9 + data[8] if len(data) > 9 and data[:3] == b"\0\0\1" and data[6] & 0xC0 == 0x80 else 0
        if not whole or not header or len(data) <= header:
            self.damaged += 1
            return
        flags = data[7] >> 6
        pts = _stamp(data, 9) if flags & 2 and header >= 14 else None
        dts = _stamp(data, 14) if flags == 3 and header >= 19 else pts
        self.packet(pts, dts, data, header)

    def _drop(self) -> None:
        """Hear that bytes are missing; the PES packet in hand may still be whole."""
        self.finish(at_end=True)
        self.lost()


def _stamp(data: bytes, at: int) -> int:
    """Read a time stamp of 33 bits in 5 bytes."""
    return (
        (data[at] >> 1 & 7) << 30
        | data[at + 1] << 22
        | (data[at + 2] >> 1) << 15
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )
