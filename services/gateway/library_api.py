"""The library: the files that clips were delivered to, below DATA_DIR/library or in the store."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.gateway.auth import Caller, deps_of, require
from services.gateway.http.files import PIECE, Content, send, tag_of
from services.gateway.http.problems import not_found
from services.gateway.soon import soon
from shared.messages.exports import LibraryDelete
from shared.store.base import ObjectMissing

router: Final = APIRouter(prefix="/v1/library", tags=["library"])
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]
TRIES: Final = 3


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


@router.get("")
async def list_library(
    request: Request,
    caller: Reader,
    start_token: Annotated[str, Query(max_length=255, description="`next_token` of the page before")] = "",
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LibraryList:
    """List the account's files by name."""
    deps = deps_of(request)
    found = await asyncio.to_thread(deps.library.page, caller.account, start_token, page_size + 1)
    files = [
        LibraryFile(
            name=file.name,
            bytes=file.size,
            modified_at=file.modified_ms,
            url=f"{deps.base_url}/v1/library/{file.name}",
        )
        for file in found[:page_size]
    ]
    return LibraryList(files=files, next_token=files[-1].name if len(found) > page_size else None)


@router.head("/{name}", response_class=Response, include_in_schema=False)
@router.get("/{name}", response_class=Response)
async def download_library_file(request: Request, caller: Reader, name: str) -> Response:
    """Download a file of the library. Range requests are served."""
    library = deps_of(request).library
    for _ in range(TRIES):  # between look and read, an exacter file may take its place
        file = await asyncio.to_thread(library.look, caller.account, name)
        if file is None:
            break
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        try:
            read = partial(library.read, file, chunk=PIECE)
            return await send(request, Content(file.size, tag_of(file.version, file.size), name, read, kind))
        except ObjectMissing:
            continue
    raise not_found("file")


@router.delete("/{name}", status_code=204, responses={202: {"description": "It will be, soon"}})
async def delete_library_file(request: Request, caller: Writer, name: str) -> Response:
    """Delete a file of the library."""
    deps = deps_of(request)
    seen = await asyncio.to_thread(deps.library.look, caller.account, name)
    if seen is None:
        raise not_found("file")
    file = hashlib.sha256(name.encode()).hexdigest()[:32]
    now = deps.clock.now_ms()
    await deps.outbox.emit(
        LibraryDelete(
            account=caller.account, file=file, file_name=name, at_ms=now, version=seen.version,
            modified_ms=seen.modified_ms,
        )
    )  # fmt: skip

    async def is_gone() -> bool:
        return await asyncio.to_thread(deps.library.look, caller.account, name) != seen

    return Response(status_code=204 if await soon(is_gone) else 202)
