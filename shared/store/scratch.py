"""A folder for what one process keeps on this machine's disk for a while; what killed processes left there goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
from pathlib import Path
from typing import Final

PREFIX: Final = ".local-"
_MAKING: Final = ".making-"
_LOCK: Final = "lock"


class Scratch:
    """A folder below `root`, locked as long as its process lives; any thread may ask for it. OSError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._turn = threading.Lock()
        self._folder: Path | None = None
        self._held = -1

    def folder(self) -> Path:
        """Return the folder; make it, and remove those of dead processes, when it is not there."""
        with self._turn:
            if self._folder is None or not (self._folder / _LOCK).exists():
                self._sweep()
                self._folder = self._make()
            return self._folder

    def _make(self) -> Path:
        """Make a folder that has its name only when it is locked: nobody takes it for a dead one before."""
        token = secrets.token_hex(6)
        made = self._root / f"{_MAKING}{token}"
        made.mkdir(parents=True)
        if self._held >= 0:  # somebody has emptied the root
            os.close(self._held)
        self._held = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # without locks on this file system, nobody else gets one either
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return made.rename(self._root / f"{PREFIX}{token}")

    def _sweep(self) -> None:
        for folder in self._root.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # locked, or removed by another process
                handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(handle)
