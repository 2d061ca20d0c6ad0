"""Work on untrusted packets in a child: their packets in, trusted packets out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from threading import Event
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.children import Family
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.wire import Message, Order, Said
from services.restreamer.sources.apart.works import Commission, Given, packed
from services.restreamer.sources.frames import Raw

MOST_FRAMES: Final = 1 << 17
"""The most frames from one packet: a picture held for ten minutes, at 120 a second, and more."""
MOST_BYTES: Final = 512 << 20


class Working:
    """One piece of work. All methods raise SourceError, also when the child dies, which ends the work."""

    def __init__(self, commission: Commission, family: Family, bounds: Bounds, stop: Event) -> None:
        self._family = family
        self._asked = False  # the child waits for permission to go on
        self.dead = False
        self.over = False
        self.reached = 0
        self._child = family.child(stop, bounds)
        try:
            self.told = list(self._ordered(Order.BEGIN, packed(commission)))
        except BaseException:
            self.close()
            raise

    def push(self, given: Given) -> Iterator[Raw]:
        """Send a packet and yield the frames made of it."""
        yield from self._ordered(Order.PUSH, _packed(given))

    def finish(self, given: Given) -> Iterator[Raw]:
        """Yield the remaining frames; none after an error, which was already raised."""
        if not self.dead:
            yield from self._ordered(Order.FINISH, _packed(given))

    def close(self) -> None:
        """Give the child back to its family, or end it after an error."""
        if self.dead:
            self._child.close()
        else:
            self.dead = True
            self._family.give(self._child)

    def _ordered(self, order: Order, data: bytes) -> Iterator[Raw]:
        if self.dead:
            raise SourceError("its decoder is gone", lasting=False)
        try:
            if self._asked:
                self._child.halt()
            self._child.order(order, data=data)
            yield from self._frames()
        except SourceError:
            self.dead = True
            raise

    def _frames(self) -> Iterator[Raw]:
        count = size = 0
        while True:
            message = self._child.answer()
            self._asked = message.said is Said.GIVEN
            count, size = count + len(message.frames), size + sum(len(frame.data) for frame in message.frames)
            if message.said in {Said.READ, Said.JUMP} or count > MOST_FRAMES or size > MOST_BYTES:
                raise SourceError("the file makes its decoder talk nonsense")
            yield from message.frames
            if message.said is not Said.GIVEN:
                return self._end(message)
            self._asked = False
            self._child.order(Order.MORE)

    def _end(self, message: Message) -> None:
        if message.said is Said.FAILED:
            raise SourceError(message.text or "it cannot be decoded", lasting=bool(message.flags & wire.LASTING))
        self.over, self.reached = bool(message.flags & wire.OVER), message.number


def _packed(given: Given) -> bytes:
    try:
        return given.pack()
    except struct.error:
        raise SourceError("its times make no sense") from None
