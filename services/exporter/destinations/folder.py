"""A folder of the installation's: `REELAY_EXPORT_DIR/<account>`, below which users' URLs `file:///sub/name.mp4` lie."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from services.exporter.destinations.base import Destination, Order, SourceFile, Transfer
from services.exporter.destinations.drafts import BLOCK, INSIDE, Draft, failing, unlink_unlocked
from services.exporter.destinations.patience import patiently
from shared.errors import DestinationFailed
from shared.store import StoreFull
from shared.store.reserve import Reserve

DRAFT: Final = ".reelay-"
DEEPEST: Final = 32
CLOSING: Final = timedelta(seconds=5)
LONGEST: Final = 255
_PARSED: Final = re.compile(r"[%?# ]")  # what parsers of URLs take for something else


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """One name below the folder; `parts` begin with the account, as none may touch another's files.

    No link is followed below the folder, so nothing outside is ever read or written.
    """

    root: Path
    reserve: Reserve
    parts: tuple[str, ...]
    draft: str

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Copy to a draft beside the final name, check it, and rename it; a later try goes on with the draft."""
        resumes = transfer.resume == self.draft
        if not resumes:  # before there is one, so that none is left by a delivery that ends here
            await transfer.keep(self.draft)
        async with self._drafted(resumes=resumes) as draft:
            await self._copy(file, transfer, draft)
            # a slow disk takes its time to write what it has been given
            await patiently(lambda: draft.finish(self.parts[-1]), transfer, file.size)
        return f"file:///{_PARSED.sub(lambda found: quote(found[0]), '/'.join(self.parts[1:]))}"

    async def _copy(self, file: SourceFile, transfer: Transfer, draft: Draft) -> None:
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
    async def _drafted(self, *, resumes: bool) -> AsyncIterator[Draft]:
        """Have the draft; what a cancelled delivery's thread still does with it comes to its end first.

        A disk that stands still is not waited for: then the draft is locked for a while yet.
        """
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(None, self._opened, resumes)
        try:
            draft = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            await asyncio.wait({opening}, timeout=CLOSING.total_seconds())
            raise
        try:
            yield draft
        finally:
            await asyncio.wait({loop.run_in_executor(None, draft.close)}, timeout=CLOSING.total_seconds())

    def _opened(self, resumes: bool) -> Draft:
        """Open and lock the draft, an empty one unless it `resumes`; NotYet while another delivery has it."""
        with failing(), self._folder(make=True) as folder:
            if not resumes:
                with contextlib.suppress(FileNotFoundError):
                    unlink_unlocked(folder, self.draft)
            handle = os.open(self.draft, os.O_RDWR | os.O_CREAT | INSIDE, 0o644, dir_fd=folder)
            draft = Draft(os.dup(folder), handle, self.draft)
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
        with failing(), contextlib.suppress(FileNotFoundError), self._folder(make=False) as folder:
            unlink_unlocked(folder, self.draft)

    def _test(self) -> None:
        with failing(), self._folder(make=False, nearest=True) as folder:
            name = f"{DRAFT}test-{os.urandom(8).hex()}"
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | INSIDE, 0o600, dir_fd=folder)
            try:
                os.write(handle, b"reelay")
            finally:
                os.close(handle)
                os.unlink(name, dir_fd=folder)


@dataclass(frozen=True, slots=True)
class FolderMaker:
    """Makes the folder's destinations; without a folder all are refused."""

    root: Path | None
    reserve: Reserve

    def __call__(self, order: Order) -> Destination:
        """Return the destination of a URL."""
        if self.root is None:
            raise DestinationFailed("exports to folders are not enabled here (REELAY_EXPORT_DIR)", final=True)
        parts = (order.account, *_parts(order.url, order.file_name))
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
    return os.open(part, os.O_DIRECTORY | INSIDE, dir_fd=folder)


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
