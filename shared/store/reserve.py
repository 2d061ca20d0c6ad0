"""Space that recordings leave free on their file system, for the broker and all else that must keep running."""

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
    """A file system's space, in bytes, as in `shutil.disk_usage`; `free` is what any user may use."""

    total: int
    used: int
    free: int


Measure = Callable[[Path], tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of a folder's file system is kept free. `size` None: chosen by the file system's size; 0: nothing.

    Recordings stop below the reserve and start again above one and a half times of it, so that they do not flap. Other
    writers of media stop far above it, at three times the reserve: the last space is for recordings.
    """

    folder: Path
    size: int | None = None
    measure: Measure = shutil.disk_usage

    def room(self) -> Room:
        """Measure the file system, or the one on which the folder will be made; OSError when that fails."""
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return Room(*self.measure(folder))

    def kept(self, room: Room) -> int:
        """Return the bytes to keep free: by default a twentieth, 32 MiB to 1 GiB, and at most a quarter."""
        if self.size is not None:
            return self.size
        return min(MOST, max(LEAST, room.total // 20), room.total // 4)

    def ample(self, room: Room) -> int:
        """Return the free bytes at which writing may start again."""
        return self.kept(room) * 3 // 2

    def short(self, room: Room) -> int:
        """Return the free bytes below which the oldest recordings go, if enabled: well before writing stops."""
        return self.kept(room) * 4

    def spare(self, room: Room) -> int:
        """Return the bytes that writers other than recordings leave free."""
        return self.kept(room) * 3

    def require(self, size: int) -> None:
        """Raise StoreFull when writing `size` bytes, other than recordings, would leave too little space."""
        if self.size == 0:
            return
        room = self.room()
        if room.free - size < self.spare(room):
            raise StoreFull(
                f"too little room is left: {room.free // MIB} MiB are free, {size // MIB} MiB are needed, "
                f"{self.spare(room) // MIB} MiB must stay free"
            )


def store_reserve(settings: Settings) -> Reserve:
    """Return the reserve of the local store's file system; for a store in S3 nothing is kept free here."""
    if settings.store.startswith("s3://"):
        return Reserve(settings.data_dir, 0)
    folder = Path(settings.store.removeprefix("file://")) if settings.store else settings.media_dir
    return Reserve(folder, settings.disk_reserve_bytes)
