"""A stranger's file, demuxed in a child: a Demuxer to whoever asks it. All that is read is read here."""

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
"""How often a child may ask for more of the file before a frame comes of it."""
_FILES: Final = frozenset({Said.READ, Said.JUMP})


class Apart:
    """A container opened in a child. SourceError from all it does; the child's death is one."""

    def __init__(self, file: Readable, container: Container, *, stop: Event, family: Family | None = None) -> None:
        self.container: Container = container
        self._file = Guarded(file)
        self._idle = 0
        self._asked: Message | None = None  # what is to be answered before frames go on
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
        """Return what the file broke off with."""
        return self._file.error

    @property
    def end(self) -> int | None:
        """Return when the file ends, as the container tells or FFmpeg estimates."""
        return self._told.end

    @property
    def shown_from(self) -> int | None:
        """Return when an mp4 begins to be shown, its edit list applied; others do not say."""
        return self._told.shown_from

    @property
    def video_end(self) -> int | None:
        """Return when an mp4's video ends by its index."""
        return self._told.video_end

    @property
    def created_ms(self) -> int | None:
        """Return the wall clock of its creation, where the file tells one."""
        return self._told.created_ms

    def cover(self) -> bytes | None:
        """Read the picture that comes with sound alone; before all frames."""
        return (self._ordered(Order.COVER).data or None) if self._has_cover else None

    def seek(self, at: int) -> bool:
        """Go to about `at` or before; False when the file does not let itself be sought in."""
        self._halt()
        return bool(self._ordered(Order.SEEK, number=at).number)

    def frames(self) -> Iterator[Raw]:
        """Yield the frames as they come, from where the last `seek` went."""
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
        """Return the child back; the file is its maker's."""
        self._family.give(self._child)

    def _halt(self) -> None:
        """Have frames end of which not all were taken."""
        message, self._asked = self._asked, None
        while message is not None and (message.said in _FILES or message.said is Said.GIVEN):
            self._reply(message, wire.HALT)
            message = self._heard()
            self._child.heard_out(message)

    def _ordered(self, order: Order, *, flags: int = 0, number: int = 0) -> Message:
        """Have an order carried out; the child reads what it needs for it."""
        self._idle = 0
        self._child.order(order, flags=flags, number=number)
        while (message := self._heard()).said in _FILES:
            self._reply(message)
        if message.said is not Said.DONE:
            raise self._error(message)
        return message

    def _heard(self) -> Message:
        """Hear what the child says; SourceError when it goes on asking, and nothing comes of it."""
        message = self._child.answer()
        self._idle = 0 if message.frames else self._idle + 1
        if self._idle > MOST_IDLE:
            self._child.close()
            raise SourceError("reading it takes too long")
        return message

    def _reply(self, message: Message, flags: int = 0) -> None:
        """Answer what a child asks; SourceError where no child of ours asks so."""
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
    """Return what opens strangers' files, in children of a family; `stop` ends its waits."""
    return partial(Apart, stop=stop, family=family)
