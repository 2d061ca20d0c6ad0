"""Reassembling PES packets from TS packets (ISO/IEC 13818-1, 2.4.3.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod

MAX_PES = 16 << 20
PAYLOAD = 184
# A packet's header bits: its second byte (times 65536) and its fourth (2.4.3.2).
START, SCRAMBLED, ADAPTED, HAS_PAYLOAD = 0x400000, 0xC0, 0x20, 0x10


def payload_of(first: int, last: int, bodies: bytes) -> bytes:
    """Return a run's payload without adaptation fields; only the first and last packet may have one.

    Empty for a scrambled run, and when an adaptation field leaves no room for the payload.
    `first` and `last` are the header bits of its first and last packet; `bodies`: all but each packet's first 4 bytes.
    """
    if first & SCRAMBLED or not first & HAS_PAYLOAD:
        return b""
    begin, end = 1 + bodies[0] if first & ADAPTED else 0, len(bodies) - PAYLOAD
    behind = 1 + bodies[end] if end and last & ADAPTED else 0
    if begin >= PAYLOAD or behind >= PAYLOAD:
        return b""
    return bodies[begin:end] + bodies[end + behind :] if behind else bodies[begin:]


def is_stuffed(body: bytes) -> bool:
    """Return whether a packet's adaptation field, if any, has stuffing, as it does at the end of a PES packet."""
    if not body:
        return False
    size = body[0]
    if not size:
        return True
    flags = body[1]
    clocks = 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return bool(flags & 3) or size > 1 + clocks


class Pes(ABC):
    """Reassembles the PES packets of one PID; `damaged` counts missing or invalid data."""

    def __init__(self) -> None:
        self.damaged = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._counter = -1
        self._newest = b""
        self._ending = b""  # the last packet, if it is adapted
        self._headless = False

    @abstractmethod
    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:
        """Take a PES packet whose payload starts at `at`, with its time stamps (90 kHz, 33 bits).

        Where bytes are missing, `lost` is called between the data before and after the gap.
        """

    @property
    def damage(self) -> int:
        """The number of dropped packets."""
        return self.damaged

    def begins(self, data: bytes, at: int) -> None:  # noqa: B027  only video waits for it
        """Handle the start of a payload, at `at`, of a PES packet that has not ended yet."""

    def lost(self, *, torn: bool, counted: bool) -> None:  # noqa: B027  some tracks have nothing to forget
        """Handle lost bytes: in the packet just taken (`torn`) or, as far as known, after it.

        `counted`: the damage has been counted.
        """

    def take(self, first: int, last: int, bodies: bytes) -> None:
        """Take a run of TS packets, as `payload_of` does; a PES packet may start only in its first one."""
        payload = payload_of(first, last, bodies)
        if not payload:
            return
        counter = first & 15
        if counter != (self._counter + 1) & 15 and self._counter >= 0:
            size = len(payload_of(first, first, bodies[:PAYLOAD]))  # of the first packet
            if not (counter == self._counter and self._newest.endswith(payload[:size])):
                self._gap(start=bool(first & START))
            elif len(bodies) == PAYLOAD:
                return  # sent twice (2.4.3.3)
            else:
                payload, first = payload[size:], first & ~START
        self._counter = last & 15
        self._newest = payload
        if first & START:
            self._begin(payload)
        elif not self._parts and not self._headless:
            return
        self._parts.append(payload)
        self._size += len(payload)
        self._ending = bodies[-PAYLOAD:] if last & ADAPTED else b""
        if self._wanted and self._size >= self._wanted:
            self.finish()
        elif self._size > MAX_PES:
            self._parts.clear()
            self._size = 0
            self._spoiled(torn=True)

    def _begin(self, payload: bytes) -> None:
        """End the previous PES packet, and read the length of the new one; 0 when it gives none."""
        self.finish()
        size = payload[4] << 8 | payload[5] if len(payload) > 6 else 0
        self._wanted = size + 6 if size else 0
        if len(payload) > 9 and payload[:3] == b"\0\0\1":
            self.begins(payload, 9 + payload[8])

    def finish(self, *, at_end: bool = False) -> None:
        """End the current PES packet.

        At the end of the stream, one of unknown length is complete only when its last TS packet has stuffing.
        """
        headless, self._headless = self._headless, False
        if not self._parts:
            return
        whole = self._size >= self._wanted if self._wanted else not at_end or is_stuffed(self._ending)
        data = b"".join(self._parts)
        if self._wanted:
            data = data[: self._wanted]
        self._parts.clear()
        self._size = 0
        header = 9 + data[8] if len(data) > 9 and data[:3] == b"\0\0\1" and data[6] & 0xC0 == 0x80 else 0
        if headless:
            self.packet(None, None, data, 0)
        elif not header or len(data) < header:
            self._spoiled(torn=False)
        elif len(data) > header:
            flags = data[7] >> 6
            pts = _stamp(data, 9) if flags & 2 and header >= 14 else None
            dts = _stamp(data, 14) if flags == 3 and header >= 19 else pts
            self.packet(pts, dts, data, header)
        if not whole:
            self._spoiled(torn=True)

    def _gap(self, *, start: bool) -> None:
        """Handle missing bytes before a TS packet (`start`: a PES packet starts in it).

        The current PES packet may still be complete; and when a new one starts, possibly neither lost any bytes.
        """
        before = self.damaged
        self.finish(at_end=True)
        if self.damaged == before:
            self.damaged += not start
            self.lost(torn=False, counted=not start)
        self._headless, self._wanted = not start, 0

    def _spoiled(self, *, torn: bool) -> None:
        """Handle a PES packet that is incomplete or invalid."""
        self.damaged += 1
        self.lost(torn=torn, counted=True)


def _stamp(data: bytes, at: int) -> int:
    """Read a 33-bit time stamp from 5 bytes."""
    bits = int.from_bytes(data[at : at + 5], "big")
    return bits >> 3 & 0x1C0000000 | bits >> 2 & 0x3FFF8000 | bits >> 1 & 0x7FFF
