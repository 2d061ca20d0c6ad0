"""Room that recordings leave free on their file system, for the broker and all else that must go on when it is full."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from shared.runtime.settings import Settings
from shared.store import StoreFull

MOST: Final = 1 << 30
LEAST: Final = 32 << 20
MIB: Final = 1 << 20


class Room(NamedTuple):
    """What a file system has, in bytes, as `shutil.disk_usage` gives it; `free` is what anybody may use."""

    total: int
    used: int
    free: int


Measure = Callable[[Path], tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of a folder's file system is kept free. `size` None: chosen by the file system's size; 0: nothing is.

    Recordings end below the reserve and begin again above one and a half of it, so that they do not flap. Other
    writers of media stop far above it, at three times the reserve: the last room is for recordings.
    """

    folder: Path
    size: int | None = None
    measure: Measure = shutil.disk_usage

    def room(self) -> Room:
        """Measure the file system, or the one on which the folder will be made; OSError when it cannot be."""
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return Room(*self.measure(folder))

    def kept(self, room: Room) -> int:
        """Bytes that are kept free: by default a twentieth, 32 MiB to 1 GiB, of a tiny disk a quarter."""
        if self.size is not None:
            return self.size
        return min(MOST, max(LEAST, room.total // 20), room.total // 4)

    def ample(self, room: Room) -> int:
        """Bytes that are free when writing may begin again."""
        return self.kept(room) * 3 // 2

    def short(self, room: Room) -> int:
        """Bytes below which the oldest recordings go, where the operator wants that: well before anything stops."""
        return self.kept(room) * 4

    def spare(self, room: Room) -> int:
        """Bytes that writers other than recordings leave free."""
        return self.kept(room) * 3

    def require(self, size: int) -> None:
        """Let a writer other than recordings write `size` bytes; StoreFull when that would leave too little."""
        if self.size == 0:
            return
        room = self.room()
        if room.free - size < self.spare(room):
            raise StoreFull(
                f"too little room is left: {room.free // MIB} MiB are free, {size // MIB} MiB are needed, "
                f"{self.spare(room) // MIB} MiB must stay free"
            )


def store_reserve(settings: Settings) -> Reserve:
    """Return the reserve of the local store's file system; of a store in S3 nothing is kept free here."""
    if settings.store.startswith("s3://"):
        return Reserve(settings.data_dir, 0)
    folder = Path(settings.store.removeprefix("file://")) if settings.store else settings.media_dir
    return Reserve(folder, settings.disk_reserve_bytes)
