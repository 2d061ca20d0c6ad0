"""SFTP (draft-ietf-secsh-filexfer-02 and OpenSSH's extensions): temporary name, resume, check, rename."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import asyncssh
from asyncssh import FXF_CREAT, FXF_READ, FXF_TRUNC, FXF_WRITE

from services.exporter.destinations.base import Order, SourceFile, Transfer
from services.exporter.destinations.remote import SAMPLE, Remote, read_url, saying, temporary_name
from services.exporter.destinations.ssh_connection import Pins, refusal, ssh_connection, told
from shared.errors import DestinationFailed
from shared.security.netguard import Networks
from shared.security.netguard.resolve import Lookup

T = TypeVar("T")
SCHEMES: Final = frozenset({"sftp"})
_PROBE: Final = b"A test of credentials; it may be deleted.\n"
_STEP_S: Final = 120.0
_SIGN_OF_LIFE_S: Final = 10.0
PATIENT_S: Final = 900.0
"""How long a server may take to write down what it has."""
_UNDER_WAY: Final = 4 << 20
"""Bytes that are sent before the first of them is acknowledged."""
_PACKET: Final = 32 << 10  # of an SSH channel; a request of n packets that is a little shorter needs no packet more
_HEAD: Final = 64
_LARGEST: Final = 256 << 10
"""Of a request, whatever a server says that it takes: it is gathered in memory, and tells nothing before its end."""


@dataclass(frozen=True, slots=True)
class SftpMaker:
    """Makes destinations of sftp:// URLs."""

    allowed: Networks
    lookup: Lookup | None = None

    def __call__(self, order: Order) -> SftpDestination:
        """Return the destination; raise DestinationFailed (final)."""
        return SftpDestination(order, self)


class SftpDestination:
    """One file at an SFTP server."""

    def __init__(self, order: Order, maker: SftpMaker) -> None:
        self._maker = maker
        self._remote: Remote = read_url(order, SCHEMES, maker.allowed)
        self._pins = Pins.of(order.credential.record.host_key if order.credential else "")
        self._port = self._remote.port or 22
        home = not self._remote.absolute and self._remote.folders[:1] == ("~",)
        self._folders = self._remote.folders[1:] if home else self._remote.folders
        self._root = "" if home else "/"
        folder = self._root + "".join(f"{name}/" for name in self._folders)
        self._folder, self._final = folder, folder + self._remote.name
        self._temporary = folder + temporary_name(order)

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Deliver the file and return its location; see Destination.put."""
        async with self._session() as sftp:
            await self._make_folders(sftp)
            there = await _size(sftp, self._temporary) if transfer.resume else None
            if there is None and transfer.resume and not await _difference(sftp, self._final, file):
                await transfer.sent(file.size)
                return self._remote.location  # an earlier try came as far as the new name, and could not tell
            await transfer.keep(self._temporary)
            await self._upload(sftp, file, transfer, there or 0)
            wrong = await _difference(sftp, self._temporary, file)
            if wrong:
                await _remove(sftp, self._temporary)
                raise DestinationFailed(f"upload: the file at the server {wrong}")
            await self._take_name(sftp)
            await transfer.sent(file.size)
        return self._remote.location

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the final name holds this file: by its size and the bytes at both ends."""
        async with self._session(_STEP_S) as sftp:
            return not await _difference(sftp, self._final, file)

    async def discard(self, transfer: Transfer) -> None:  # noqa: ARG002  the name is known without a note
        """Remove the temporary file."""
        async with self._session(_STEP_S) as sftp:
            await _remove(sftp, self._temporary)

    async def test(self) -> None:
        """Log in, write a few bytes where the file is to go, and remove them."""
        name = f"{self._folder}.reelay-test-{secrets.token_hex(8)}"
        made: list[str] = []
        async with self._session(_STEP_S) as sftp:
            try:
                await self._make_folders(sftp, made)
                with _step("writing a file"):
                    async with _opened(sftp, name, FXF_WRITE | FXF_CREAT) as target:
                        await target.write(_PROBE, 0)
                with _step("deleting a file (which replacing needs)"):
                    await sftp.remove(name)
            finally:
                for folder in reversed(made):
                    with contextlib.suppress(asyncssh.SFTPError):
                        await sftp.rmdir(folder)

    @contextlib.asynccontextmanager
    async def _session(self, within: float | None = None) -> AsyncIterator[asyncssh.SFTPClient]:
        """Connect and log in; whatever breaks inside, or takes longer than `within` s, becomes DestinationFailed."""
        remote, maker = self._remote, self._maker
        with told(f"sftp://{remote.host}:{self._port}", remote.password):
            async with (
                asyncio.timeout(within),
                ssh_connection(remote, self._port, self._pins, maker.allowed, maker.lookup) as connection,
            ):
                async with asyncio.timeout(_STEP_S):
                    sftp = await connection.start_sftp_client()
                yield sftp

    async def _make_folders(self, sftp: asyncssh.SFTPClient, made: list[str] | None = None) -> None:
        """Make what is missing of the way to the file, from the innermost folder that is there."""
        paths = [self._root + "/".join(self._folders[: count + 1]) for count in range(len(self._folders))]
        missing = []
        while paths and await _size(sftp, paths[-1]) is None:
            missing.append(paths.pop())
        for path in reversed(missing):
            try:
                await sftp.mkdir(path)
            except asyncssh.SFTPError as error:
                if await _size(sftp, path) is None:  # else another delivery has just made it
                    raise refusal(f"folder {path}", error) from error
                continue
            if made is not None:
                made.append(path)

    async def _upload(self, sftp: asyncssh.SFTPClient, file: SourceFile, transfer: Transfer, there: int) -> None:
        """Bring the temporary file to its full length."""
        # Requests may be carried out in any order: of what was under way when the last try ended, parts may be missing.
        offset = max(there - _UNDER_WAY, 0) if there <= file.size else 0
        if offset and await self._goes_on(sftp, file, offset):
            await self._send(sftp, file, transfer, offset)
            return
        await _remove(sftp, self._temporary)
        await self._send(sftp, file, transfer, 0)

    async def _goes_on(self, sftp: asyncssh.SFTPClient, file: SourceFile, offset: int) -> bool:
        """Return whether the server writes into a file that is there: those that keep files as objects do not."""
        try:
            async with _opened(sftp, self._temporary, FXF_WRITE) as target:
                await target.write(await file.read(offset, SAMPLE), offset)
        except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost):
            raise
        except asyncssh.SFTPError:
            return False
        return True

    async def _send(self, sftp: asyncssh.SFTPClient, file: SourceFile, transfer: Transfer, offset: int) -> None:
        flags = FXF_WRITE if offset else FXF_WRITE | FXF_CREAT | FXF_TRUNC
        with _step("upload"):
            async with _opened(sftp, self._temporary, flags) as target:
                await transfer.sent(offset)
                await _write(target, file.chunks(offset), offset, transfer)
                with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                    await _patiently(target.fsync(), transfer, file.size)

    async def _take_name(self, sftp: asyncssh.SFTPClient) -> None:
        """Rename to the final name; where a server renames over nothing, delete what is there just before."""
        posix = True
        try:
            with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                await sftp.posix_rename(self._temporary, self._final)
                return
            posix = False
            await sftp.rename(self._temporary, self._final)
        except asyncssh.SFTPError as error:
            if await _size(sftp, self._temporary) is None:  # another exporter has just done it: nothing may go
                raise DestinationFailed(f"rename: the server said: {saying(error.reason)}") from error
            if posix or await _size(sftp, self._final) is None:
                raise refusal("rename", error) from error
            with _step("replacing what is there"):
                await sftp.remove(self._final)
                await sftp.rename(self._temporary, self._final)


@contextlib.asynccontextmanager
async def _opened(sftp: asyncssh.SFTPClient, path: str, flags: int) -> AsyncIterator[asyncssh.SFTPClientFile]:
    """Open a file, and close it unless something went wrong: then the connection ends, and nothing is waited for."""
    found = await sftp.open(path, flags, encoding=None)
    yield found
    await found.close()


async def _write(
    target: asyncssh.SFTPClientFile, chunks: AsyncIterator[bytes], offset: int, transfer: Transfer
) -> None:
    """Write chunks from an offset, many requests under way at once; tell what was acknowledged without a gap."""
    block = min(target.write_len, _LARGEST)
    target.write_len = 0  # a write is one request: what it would begin besides, nobody ends
    if block > 2 * _PACKET:
        block = block // _PACKET * _PACKET - _HEAD
    under_way: deque[tuple[int, asyncio.Task[int]]] = deque()
    try:
        async for piece in _blocks(chunks, block):
            under_way.append((offset + len(piece), asyncio.create_task(target.write(piece, offset))))
            offset += len(piece)
            while len(under_way) * block > _UNDER_WAY:
                await _acknowledged(under_way, transfer)
        while under_way:
            await _acknowledged(under_way, transfer)
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


async def _acknowledged(under_way: deque[tuple[int, asyncio.Task[int]]], transfer: Transfer) -> None:
    end, task = under_way[0]
    await task
    under_way.popleft()
    await transfer.sent(end)


async def _blocks(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the same bytes in pieces of one size; each is copied once."""
    kept: list[memoryview] = []
    length = 0
    async for chunk in chunks:
        left = memoryview(chunk)
        while length + len(left) >= size:
            cut = size - length
            yield b"".join([*kept, left[:cut]])
            kept, length, left = [], 0, left[cut:]
        if left:
            kept.append(left)
            length += len(left)
    if kept:
        yield b"".join(kept)


async def _patiently(work: Awaitable[T], transfer: Transfer, total: int) -> T:
    """Wait for a server that has all bytes and takes its time; tell that it is not stuck. TimeoutError: it is."""
    doing = asyncio.ensure_future(asyncio.wait_for(work, PATIENT_S))
    try:
        while not (await asyncio.wait({doing}, timeout=_SIGN_OF_LIFE_S))[0]:
            await transfer.sent(total)
        return doing.result()
    finally:
        doing.cancel()


async def _size(sftp: asyncssh.SFTPClient, path: str) -> int | None:
    try:
        return (await sftp.stat(path)).size or 0
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None


async def _remove(sftp: asyncssh.SFTPClient, path: str) -> None:
    with contextlib.suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        await sftp.remove(path)


async def _difference(sftp: asyncssh.SFTPClient, path: str, file: SourceFile) -> str:
    """Return what is wrong with a file at the server; empty: nothing that its size and both its ends tell."""
    size = await _size(sftp, path)
    if size != file.size:
        return "is not there" if size is None else f"has {size} bytes, and not {file.size}"
    try:
        async with _opened(sftp, path, FXF_READ) as found:
            for start in {0, max(size - SAMPLE, 0)}:
                if cast("bytes", await found.read(SAMPLE, start)) != await file.read(start, SAMPLE):
                    return "has other bytes than were sent"
    except asyncssh.SFTPPermissionDenied:
        pass  # a folder that one may only write to
    return ""


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """Say in the error at which step the server refused."""
    try:
        yield
    except asyncssh.SFTPOpUnsupported:
        raise
    except asyncssh.SFTPError as error:
        raise refusal(name, error) from error
