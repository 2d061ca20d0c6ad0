"""PES packets out of TS packets (ISO/IEC 13818-1, 2.4.3.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod

MAX_PES = 16 << 20
PAYLOAD = 184
# What marks a packet: its second byte (times 65536) and its fourth (2.4.3.2).
START, SCRAMBLED, ADAPTED, HAS_PAYLOAD = 0x400000, 0xC0, 0x20, 0x10


def payload_of(first: int, last: int, bodies: bytes) -> bytes:
    """Return a run's payload without the adaptation fields, of which none is in the middle.

    Nothing of a scrambled one, and of one with an adaptation field that leaves no room for the payload that it says.
    `first` and `last` mark its first and last packet; `bodies` is all but the first four bytes of each.
    """
    if first & SCRAMBLED or not first & HAS_PAYLOAD:
        return b""
    begin, end = 1 + bodies[0] if first & ADAPTED else 0, len(bodies) - PAYLOAD
    behind = 1 + bodies[end] if end and last & ADAPTED else 0
    if begin >= PAYLOAD or behind >= PAYLOAD:
        return b""
    return bodies[begin:end] + bodies[end + behind :] if behind else bodies[begin:]


def is_stuffed(body: bytes) -> bool:
    """Tell whether a packet's adaptation field, if any, fills it up, as it does where a PES packet ends."""
    if not body:
        return False
    size = body[0]
    if not size:
        return True
    flags = body[1]
    clocks = 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return bool(flags & 3) or size > 1 + clocks


class Pes(ABC):
    """Puts the PES packets of one PID together; `damaged` counts where bytes are missing or make no sense."""

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
        """Take a PES packet whose payload begins at `at`, with its time stamps (90 kHz, 33 bits).

        Where bytes are missing, `lost` comes between what is there of it before and behind the gap.
        """

    @property
    def damage(self) -> int:
        """Count what was dropped."""
        return self.damaged

    def begins(self, data: bytes, at: int) -> None:  # noqa: B027  only video waits for it
        """Hear how the payload begins, at `at`, of a PES packet whose end is still to come."""

    def lost(self, *, torn: bool, counted: bool) -> None:  # noqa: B027  some tracks have nothing to forget
        """Hear that bytes have been lost: in the packet just taken (`torn`) or, for all one can tell, behind it.

        `counted`: the damage has been counted.
        """

    def take(self, first: int, last: int, bodies: bytes) -> None:
        """Take a run of TS packets, as `payload_of` does; only in its first one a PES packet may begin."""
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
        """End the PES packet before, and read how long the new one is; 0 when it does not say."""
        self.finish()
        size = payload[4] << 8 | payload[5] if len(payload) > 6 else 0
        self._wanted = size + 6 if size else 0
        if len(payload) > 9 and payload[:3] == b"\0\0\1":
            self.begins(payload, 9 + payload[8])

    def finish(self, *, at_end: bool = False) -> None:
        """End the PES packet in hand.

        At the end of the stream one of unknown length is whole only when its last TS packet was stuffed.
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
        """Hear that bytes are missing before a TS packet (`start`: a PES packet begins in it).

        The PES packet in hand may be whole all the same; and where a new one begins, perhaps nothing was lost of any.
        """
        before = self.damaged
        self.finish(at_end=True)
        if self.damaged == before:
            self.damaged += not start
            self.lost(torn=False, counted=not start)
        self._headless, self._wanted = not start, 0

    def _spoiled(self, *, torn: bool) -> None:
        """Hear that a PES packet lacks something, or makes no sense."""
        self.damaged += 1
        self.lost(torn=torn, counted=True)


def _stamp(data: bytes, at: int) -> int:
    """Read a time stamp of 33 bits in 5 bytes."""
    bits = int.from_bytes(data[at : at + 5], "big")
    return bits >> 3 & 0x1C0000000 | bits >> 2 & 0x3FFF8000 | bits >> 1 & 0x7FFF
