"""The local library: the files that clips were delivered to, below DATA_DIR/library."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.gateway.auth import Caller, deps_of, require
from services.gateway.http.files import PIECE, Content, send, tag_of
from services.gateway.http.problems import not_found
from services.gateway.names import Names
from services.gateway.soon import soon
from shared.messages.exports import LibraryDelete
from shared.store.base import ObjectMissing

router: Final = APIRouter(prefix="/v1/library", tags=["library"])
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
TRIES: Final = 3
_names: Final = Names(_NAME)


class LibraryFile(BaseModel):
    """A file of the library."""

    name: str
    bytes: int
    modified_at: int = Field(description="ms since the epoch")
    url: str


class LibraryList(BaseModel):
    """A page of the library, by name."""

    files: list[LibraryFile]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")


def _scan(folder: Path, after: str, count: int) -> list[tuple[str, os.stat_result]]:
    """Read the first `count` files behind the name `after`; a file that vanishes meanwhile is left out."""
    found: list[tuple[str, os.stat_result]] = []
    for name in _names.after(folder, after):
        info = _look(folder / name)
        if info is not None:
            found.append((name, info))
        if len(found) == count:
            break
    return found


def _look(path: Path) -> os.stat_result | None:
    try:
        info = path.lstat()
    except OSError:
        return None
    return info if stat.S_ISREG(info.st_mode) else None


@router.get("")
async def list_library(
    request: Request,
    caller: Reader,
    start_token: Annotated[str, Query(max_length=255, description="`next_token` of the page before")] = "",
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LibraryList:
    """List the account's files by name."""
    deps = deps_of(request)
    folder = deps.settings.library_dir / caller.account
    found = await asyncio.to_thread(_scan, folder, start_token, page_size + 1)
    files = [
        LibraryFile(
            name=name,
            bytes=info.st_size,
            modified_at=info.st_mtime_ns // 1_000_000,
            url=f"{deps.base_url}/v1/library/{name}",
        )
        for name, info in found[:page_size]
    ]
    return LibraryList(files=files, next_token=files[-1].name if len(found) > page_size else None)


@router.head("/{name}", response_class=Response, include_in_schema=False)
@router.get("/{name}", response_class=Response)
async def download_library_file(request: Request, caller: Reader, name: str) -> Response:
    """Download a file of the library. Range requests are served."""
    if not _NAME.fullmatch(name):
        raise not_found("file")
    path = deps_of(request).settings.library_dir / caller.account / name
    for _ in range(TRIES):  # between look and read, an exacter file may take its place
        info = await asyncio.to_thread(_look, path)
        if info is None:
            break
        tag = tag_of(info.st_ino, info.st_size, info.st_mtime_ns)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        try:
            return await send(request, Content(info.st_size, tag, name, partial(_read, path, info), kind))
        except ObjectMissing:
            continue
    raise not_found("file")


@router.delete("/{name}", status_code=204, responses={202: {"description": "It will be, soon"}})
async def delete_library_file(request: Request, caller: Writer, name: str) -> Response:
    """Delete a file of the library."""
    deps = deps_of(request)
    path = deps.settings.library_dir / caller.account / name
    if not _NAME.fullmatch(name) or await asyncio.to_thread(_look, path) is None:
        raise not_found("file")
    file = hashlib.sha256(name.encode()).hexdigest()[:32]
    now = deps.clock.now_ms()
    await deps.outbox.emit(LibraryDelete(account=caller.account, file=file, file_name=name, at_ms=now))

    async def is_gone() -> bool:
        return await asyncio.to_thread(_look, path) is None

    return Response(status_code=204 if await soon(is_gone) else 202)


def _read(path: Path, seen: os.stat_result, offset: int, length: int) -> Iterator[bytes]:
    """Read a range of the file that was looked at; ObjectMissing when another has its name now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ObjectMissing(f"{path.name} is gone") from error
    with os.fdopen(handle, "rb", buffering=0) as file:
        if not os.path.samestat(seen, os.fstat(handle)):
            raise ObjectMissing(f"{path.name} is another file now")
        file.seek(offset)
        while length > 0 and (piece := file.read(min(PIECE, length))):
            length -= len(piece)
            yield piece
