"""A destination in memory that misbehaves as told: cut off, stuck, lying, full, slow, or killed in between."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from services.exporter.destinations.base import Destination, Order, SourceFile, Transfer
from shared.errors import DestinationFailed, NotYet

PIECE = 1000


class Died(BaseException):
    """What a `kill -9` looks like from within: nothing after it is run but by the next try."""


@dataclass
class Place:
    """What lies at a user's server: final names and unfinished uploads; and how the server behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytearray] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """What began and what took its name, in order."""
    refuses: int = 0
    """How many puts fail after their first piece."""
    final: bool = False
    dies_before: str = ""
    """Where the exporter is killed, once: "piece", "rename" or "record"."""
    works: int = 0
    """How often the server has not yet done with the file when its bytes are there."""
    lies: bool = False
    stuck: bool = False
    gate: asyncio.Event | None = None
    """What a put waits for after its first piece; `reached` says that it does."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    mute: bool = False
    """Whether it never says what it has; `asked` says that it was asked."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    tested: str = ""
    keeps: int = 0
    """How often nothing can be cleared away, `stays`: for good."""
    stays: bool = False

    def make(self, order: Order) -> Destination:
        self.orders.append(order)
        return Wild(self, order)

    def die(self, at: str) -> None:
        if self.dies_before == at:
            self.dies_before = ""
            raise Died


@dataclass
class Wild:
    """One delivery to the place."""

    place: Place
    order: Order

    @property
    def name(self) -> str:
        return self.order.file_name

    @property
    def part(self) -> str:
        return f"{self.order.export}-{self.order.accuracy}"

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        place = self.place
        if transfer.resume != self.part:
            await transfer.keep(self.part)
            place.parts[self.part] = bytearray()
        done = place.parts.setdefault(self.part, bytearray())
        at = len(done)
        place.resumed.append(at)
        place.steps.append(f"{self.order.accuracy} begins")
        while at < file.size:
            piece = await file.read(at, PIECE)
            done[at : at + len(piece)] = piece
            at += len(piece)
            await transfer.sent(at)
            await self._misbehave()
        if place.lies:
            raise DestinationFailed(f"the server has {at // 2} bytes of {file.size}")
        if place.works:
            place.works -= 1
            raise NotYet("the server works on the file", timedelta(milliseconds=10))
        place.die("rename")
        place.parts.pop(self.part, None)
        place.steps.append(f"{self.order.accuracy} is there")
        place.files[self.name] = bytes(done)
        place.die("record")
        return f"wild://{self.name}"

    async def _misbehave(self) -> None:
        place = self.place
        if place.refuses:
            place.refuses -= 1
            raise DestinationFailed("530 not today", final=place.final)
        if place.stuck:
            await asyncio.Event().wait()
        place.die("piece")
        if place.gate:
            place.reached.set()
            await place.gate.wait()

    async def holds(self, file: SourceFile) -> bool:
        self.place.asked.set()
        if self.place.mute:
            await asyncio.Event().wait()
        there = self.place.files.get(self.name)
        if there is None or len(there) != file.size:
            return False
        return not file.sha256 or hashlib.sha256(there).hexdigest() == file.sha256

    async def discard(self, transfer: Transfer) -> None:
        if self.place.keeps:
            self.place.keeps -= 1
            raise DestinationFailed("421 not now", final=self.place.stays)
        self.place.steps.append(f"{self.order.accuracy} is cleared away")
        self.place.parts.pop(transfer.resume, None)

    async def test(self) -> None:
        if self.place.stuck:
            await asyncio.Event().wait()
        if self.place.tested:
            raise DestinationFailed(self.place.tested)
