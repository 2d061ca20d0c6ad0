"""A Demuxer whose work runs in a child, for untrusted files. This process does all the reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from threading import Event
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.children import Family, children
from services.restreamer.sources.apart.wire import Message, Order, Said
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Demux, Raw
from services.restreamer.sources.origins.files import Readable
from services.restreamer.sources.origins.guarded import Guarded

LARGEST_READ: Final = 1 << 20
MOST_IDLE: Final = 1 << 20
"""How many messages a child may send without a frame."""
_FILES: Final = frozenset({Said.READ, Said.JUMP})


class Apart:
    """A container opened in a child. All methods raise SourceError, also when the child dies."""

    def __init__(self, file: Readable, container: Container, *, stop: Event, family: Family | None = None) -> None:
        self.container: Container = container
        self._file = Guarded(file)
        self._idle = 0
        self._asked: Message | None = None  # the question to answer before more frames come
        self._family: Family = family or children()
        self._child = self._family.child(stop)
        try:
            seekable = wire.SEEKABLE * self._file.seekable()
            opened = self._ordered(Order.OPEN, flags=seekable, number=wire.CONTAINERS.index(container))
        except BaseException:
            self._child.close()
            raise
        self._told = opened.told
        self.has_video, self.has_audio = opened.told.has_video, opened.told.has_audio
        self._has_cover = bool(opened.flags & wire.COVERED)

    @property
    def broken(self) -> SourceError | None:
        """The error with which the file broke off."""
        return self._file.error

    @property
    def end(self) -> int | None:
        """When the file ends, as the container says or FFmpeg estimates."""
        return self._told.end

    @property
    def shown_from(self) -> int | None:
        """When presentation of an mp4 starts by its edit list; None for other containers."""
        return self._told.shown_from

    @property
    def video_end(self) -> int | None:
        """When an mp4's video ends by its index."""
        return self._told.video_end

    @property
    def created_ms(self) -> int | None:
        """The wall clock of the file's creation, if the file has one."""
        return self._told.created_ms

    def cover(self) -> bytes | None:
        """Return the cover picture of an audio-only file; call this before `frames`."""
        return (self._ordered(Order.COVER).data or None) if self._has_cover else None

    def seek(self, at: int) -> bool:
        """Seek to about `at` or before; return False when the file is not seekable."""
        self._halt()
        return bool(self._ordered(Order.SEEK, number=at).number)

    def frames(self) -> Iterator[Raw]:
        """Yield the frames in file order, from the position of the last `seek`."""
        self._halt()
        self._child.order(Order.FRAMES)
        while True:
            message = self._heard()
            self._told = message.told
            going_on = message.said in _FILES or message.said is Said.GIVEN
            self._asked = message if going_on else None
            yield from message.frames
            if message.said is Said.FAILED:
                raise self._error(message)
            if not going_on:
                return
            self._asked = None
            self._reply(message)

    def close(self) -> None:
        """Give the child back to its family; the file stays open."""
        self._family.give(self._child)

    def _halt(self) -> None:
        """Stop an unfinished reading of frames."""
        message, self._asked = self._asked, None
        while message is not None and (message.said in _FILES or message.said is Said.GIVEN):
            self._reply(message, wire.HALT)
            message = self._heard()
            self._child.heard_out(message)

    def _ordered(self, order: Order, *, flags: int = 0, number: int = 0) -> Message:
        """Send an order, serve the child's reads, and return its final message."""
        self._idle = 0
        self._child.order(order, flags=flags, number=number)
        while (message := self._heard()).said in _FILES:
            self._reply(message)
        if message.said is not Said.DONE:
            raise self._error(message)
        return message

    def _heard(self) -> Message:
        """Return the child's next message; raise SourceError after too many messages without a frame."""
        message = self._child.answer()
        self._idle = 0 if message.frames else self._idle + 1
        if self._idle > MOST_IDLE:
            self._child.close()
            raise SourceError("reading it takes too long")
        return message

    def _reply(self, message: Message, flags: int = 0) -> None:
        """Answer a child's question; raise SourceError for an invalid one."""
        file = self._file
        if message.said is Said.GIVEN:
            self._child.order(Order.MORE, flags=flags)
        elif message.said is Said.READ and 0 < message.number <= LARGEST_READ:
            data = file.read(message.number)
            self._child.order(Order.DATA, flags=flags | self._state(), data=data)
        elif message.said is Said.JUMP and message.flags in {os.SEEK_SET, os.SEEK_END} and file.seekable():
            number = file.seek(message.number, message.flags)
            self._child.order(Order.POSITION, flags=flags | self._state(), number=number)
        else:
            self._child.close()
            raise SourceError("the file makes its reader talk nonsense")

    def _state(self) -> int:
        return wire.BROKEN * (self._file.error is not None) | wire.TORN * self._file.torn

    def _error(self, message: Message) -> SourceError:
        if message.flags & wire.YOURS and self._file.error is not None:
            return self._file.error
        return SourceError(message.text or "it cannot be read", lasting=bool(message.flags & wire.LASTING))


def apart(stop: Event, family: Family | None = None) -> Demux:
    """Return a Demux that opens untrusted files in children of a family; `stop` ends its waits."""
    return partial(Apart, stop=stop, family=family)
