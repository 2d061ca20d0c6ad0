"""A folder of the installation's: REELAY_EXPORT_DIR, below which users' URLs `file:///sub/folder/name.mp4` lie."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from services.exporter.destinations.base import Destination, Order, SourceFile, Transfer
from services.exporter.destinations.patience import patiently
from shared.errors import DestinationFailed, NotYet
from shared.store import StoreFull
from shared.store.reserve import Reserve

DRAFT: Final = ".reelay-"
DEEPEST: Final = 32
LONGEST: Final = 255
BLOCK: Final = 1 << 20
_FINAL: Final = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
})  # fmt: skip
_INSIDE: Final = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """One name below the folder. No link is followed below it, so nothing outside is ever read or written."""

    root: Path
    reserve: Reserve
    parts: tuple[str, ...]
    draft: str

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Copy to a draft beside the final name, check it, and rename it; a later try goes on with the draft."""
        async with self._drafted(resumes=transfer.resume == self.draft) as draft:
            if transfer.resume != self.draft:
                await transfer.keep(self.draft)
            await self._copy(file, transfer, draft)
            # a slow disk takes its time to write what it has been given
            await patiently(lambda: draft.finish(self.parts[-1]), transfer, file.size)
        return f"file:///{quote('/'.join(self.parts))}"

    async def _copy(self, file: SourceFile, transfer: Transfer, draft: _Draft) -> None:
        await asyncio.to_thread(draft.keep, file.size)
        await asyncio.to_thread(self._require, file.size - draft.size)
        while await asyncio.to_thread(draft.check_more):
            await transfer.sent(draft.size)
        async for block in _blocks(file, draft.size):
            await asyncio.to_thread(draft.write, block)
            await transfer.sent(draft.size)
        if draft.size != file.size or (file.sha256 and draft.sha256 != file.sha256):
            await asyncio.to_thread(draft.keep, 0)
            raise DestinationFailed("the export folder's file is not what was written to it")

    async def holds(self, file: SourceFile) -> bool:
        """Return whether a plain file of this name and size is there."""
        return await asyncio.to_thread(self._holds, file.size)

    async def discard(self, transfer: Transfer) -> None:
        """Remove the draft."""
        if transfer.resume == self.draft:
            await asyncio.to_thread(self._discard)

    async def test(self) -> None:
        """Write and remove a file in the nearest folder that exists."""
        await asyncio.to_thread(self._test)

    def _require(self, size: int) -> None:
        try:
            self.reserve.require(max(size, 0))
        except StoreFull as error:
            raise DestinationFailed(f"the export folder is full: {error}") from error

    @contextlib.contextmanager
    def _folder(self, *, make: bool, nearest: bool = False) -> Iterator[int]:
        """Yield the descriptor of the name's folder; `nearest`: or of the one above it that exists."""
        folder = os.open(self.root, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in self.parts[:-1]:
                try:
                    inner = _enter(folder, part, make=make)
                except FileNotFoundError:
                    if nearest:
                        break
                    raise
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    @contextlib.asynccontextmanager
    async def _drafted(self, *, resumes: bool) -> AsyncIterator[_Draft]:
        """Have the draft; what a cancelled delivery's thread still does with it comes to its end first."""
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, self._opened, resumes)
        try:
            draft = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            raise
        try:
            yield draft
        finally:
            loop.run_in_executor(None, draft.close)

    def _opened(self, resumes: bool) -> _Draft:
        """Open and lock the draft, an empty one unless it `resumes`; NotYet while another delivery has it."""
        with _failing(), self._folder(make=True) as folder:
            if not resumes:
                with contextlib.suppress(FileNotFoundError):
                    _unlink_unlocked(folder, self.draft)
            handle = os.open(self.draft, os.O_RDWR | os.O_CREAT | _INSIDE, 0o644, dir_fd=folder)
            draft = _Draft(os.dup(folder), handle, self.draft)
            try:
                draft.lock()
            except BaseException:
                draft.close()
                raise
            return draft

    def _holds(self, size: int) -> bool:
        try:
            with self._folder(make=False) as folder:
                info = os.stat(self.parts[-1], dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(info.st_mode) and info.st_size == size

    def _discard(self) -> None:
        with _failing(), contextlib.suppress(FileNotFoundError), self._folder(make=False) as folder:
            _unlink_unlocked(folder, self.draft)

    def _test(self) -> None:
        with _failing(), self._folder(make=False, nearest=True) as folder:
            name = f"{DRAFT}test-{os.urandom(8).hex()}"
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _INSIDE, 0o600, dir_fd=folder)
            try:
                os.write(handle, b"reelay")
            finally:
                os.close(handle)
                os.unlink(name, dir_fd=folder)


class _Draft:
    """An open and locked draft; one delivery at a time has it. Its calls block; each ends before `close` closes it."""

    def __init__(self, folder: int, handle: int, name: str) -> None:
        self._folder = folder
        self._handle = handle
        self._name = name
        self._busy = threading.Lock()
        self._closed = False
        self._hash = hashlib.sha256()
        self._checked = 0
        self.size = os.fstat(handle).st_size

    @property
    def sha256(self) -> str:
        """The hash of what was checked and written."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close and unlock it."""
        with self._busy:
            if not self._closed:
                self._closed = True
                os.close(self._handle)
                os.close(self._folder)

    def lock(self) -> None:
        """Lock it; NotYet when another delivery has it, or has just ended with it."""
        _lock(self._handle)
        try:
            there = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            same = os.path.samestat(there, os.fstat(self._handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise NotYet("the file was being delivered elsewhere", timedelta(milliseconds=10))
        self.size = os.fstat(self._handle).st_size

    def keep(self, most: int) -> None:
        """Keep what an earlier try wrote, unless it is more than `most` bytes: then it is no part of the file."""
        with self._using():
            if self.size > most:
                os.ftruncate(self._handle, 0)
                self.size = self._checked = 0
                self._hash = hashlib.sha256()

    def check_more(self) -> bool:
        """Read some of what an earlier try wrote, for the hash; return whether there was any."""
        with self._using():
            block = os.pread(self._handle, min(BLOCK, self.size - self._checked), self._checked)
        self._hash.update(block)
        self._checked += len(block)
        return bool(block)

    def write(self, block: bytes) -> None:
        """Write the next bytes."""
        with self._using():
            done = 0
            while done < len(block):
                done += os.pwrite(self._handle, block[done:], self.size + done)
            self.size += len(block)
        self._hash.update(block)

    def finish(self, name: str) -> None:
        """Give the draft its final name, once it has reached the disk."""
        with self._using():
            os.fsync(self._handle)
            os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._busy, _failing():
            if self._closed:
                raise NotYet("the delivery was stopped", timedelta(seconds=1))
            yield


@dataclass(frozen=True, slots=True)
class FolderMaker:
    """Makes the folder's destinations; without a folder all are refused."""

    root: Path | None
    reserve: Reserve

    def __call__(self, order: Order) -> Destination:
        """Return the destination of a URL."""
        if self.root is None:
            raise DestinationFailed("exports to folders are not enabled here (REELAY_EXPORT_DIR)", final=True)
        parts = _parts(order.url, order.file_name)
        name = hashlib.sha256(f"{order.export}/{order.accuracy}/{'/'.join(parts)}".encode()).hexdigest()[:32]
        return FolderDestination(self.root, self.reserve, parts, f"{DRAFT}{name}")


def _parts(url: str, file_name: str) -> tuple[str, ...]:
    """Return the folders and the name that a URL means; DestinationFailed (final)."""
    try:
        split = urlsplit(url)
        named = split.scheme == "file" and split.netloc in {"", "localhost"} and not (split.query or split.fragment)
    except ValueError:
        named = False
    if not named or not split.path.startswith("/"):
        raise DestinationFailed("the URL of a folder is file:///folder/name", final=True)
    path = unquote(split.path)
    parts = tuple((path + (file_name if path.endswith("/") else ""))[1:].split("/"))
    if len(parts) > DEEPEST or not all(_is_name(part) for part in parts):
        raise DestinationFailed("the URL names no file below the folder", final=True)
    return parts


def _is_name(part: str) -> bool:
    if part in {"", ".", ".."} or part.startswith(DRAFT) or not part.isprintable():
        return False
    return len(part.encode(errors="replace")) <= LONGEST


def _enter(folder: int, part: str, *, make: bool) -> int:
    """Open a folder within a folder; made, if it is missing and `make`."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=folder)
    return os.open(part, os.O_DIRECTORY | _INSIDE, dir_fd=folder)


def _lock(handle: int) -> None:
    """Lock an open file for as long as it is open; NotYet when another delivery has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotYet("the file is being delivered elsewhere", timedelta(seconds=1)) from error


def _unlink_unlocked(folder: int, name: str) -> None:
    """Remove a draft that nobody writes; NotYet when somebody does, FileNotFoundError."""
    handle = os.open(name, os.O_RDWR | _INSIDE, dir_fd=folder)
    try:
        _lock(handle)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(handle)


async def _blocks(file: SourceFile, offset: int) -> AsyncIterator[bytes]:
    """Yield the file's bytes from an offset in larger blocks than it gives."""
    block = bytearray()
    async for piece in file.chunks(offset):
        block += piece
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise DestinationFailed(
            f"the export folder could not take the file: {reason}", final=error.errno in _FINAL
        ) from error
