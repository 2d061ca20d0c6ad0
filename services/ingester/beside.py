"""Salvaging while the writer may still be alive: none of its files are written, truncated or deleted (ADR 17)."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Final

from services.ingester.recorder.model import SegmentInfo
from services.ingester.recorder.recover import recover
from services.ingester.recorder.writer import store_error

LONG_NAME: Final = 12
"""Digits of a copy's name: players find it by its number like any segment; `recover` ignores it."""


def is_copy(key: str) -> bool:
    """Return whether a segment's key is that of a copy, which the complete segment may replace."""
    return len(key.rsplit("/", 1)[-1].removesuffix(".m4s")) == LONG_NAME


def recover_beside(folder: Path, after: int = -1) -> list[SegmentInfo]:
    """Return every segment in `folder` with a sequence above `after` as `recover` does, but a copy of the newest one.

    A writer has closed all segments but the newest. Raises StoreFull or Unavailable when the disk fails.
    """
    scratch = folder / f"salvage-{uuid.uuid4().hex}"  # a key like others: retention finds what a kill leaves
    try:
        scratch.mkdir()
        try:
            return _recover(folder, scratch, after)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise store_error(error) from error


def _recover(folder: Path, scratch: Path, after: int) -> list[SegmentInfo]:
    names = [path.name for path in folder.glob("*.m4s") if path.stem.isdecimal() and len(path.stem) < LONG_NAME]
    wanted = sorted((name for name in names if int(Path(name).stem) > after), key=lambda name: int(Path(name).stem))
    if not wanted:
        return []
    for name in [*wanted[:-1], *(path.name for path in folder.glob("init-*.mp4"))]:
        os.link(folder / name, scratch / name)
    shutil.copyfile(folder / wanted[-1], scratch / wanted[-1])
    found = recover(scratch, after)
    if found and found[-1].path.name == wanted[-1]:
        copy = folder / f"{found[-1].sequence:0{LONG_NAME}d}.m4s"
        found[-1].path.replace(copy)
        found[-1] = replace(found[-1], path=copy)
    return found
