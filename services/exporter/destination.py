"""What every destination of files can do. Adapters are named for what they touch: library.py, later s3.py, ftp.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Destination(Protocol):
    """A place that takes files. Its calls block: they run in threads.

    Raises DestinationFailed when the place itself fails, Busy when another instance is at the same file.
    """

    def exclusive(self, account: str, name: str) -> AbstractContextManager[None]:
        """Keep every other delivery to the same name out while the block runs."""
        ...

    def put(self, source: Path, account: str, name: str) -> str:
        """Put the file there, whole or not at all, over what had its name; gives where it lies."""
        ...

    def holds(self, account: str, name: str, size: int) -> bool:
        """Say whether a file of this name and size is there."""
        ...
