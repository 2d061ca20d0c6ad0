"""Routes of the library."""

from __future__ import annotations

import mimetypes
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.domain.errors import no_such
from services.gateway.domain.library.library import LibraryFiles
from services.gateway.http.files import PIECE, Content, send, tag_of
from services.gateway.http.parts import part
from services.gateway.http.public_url import PublicUrl
from services.gateway.identity.auth import Caller, require
from services.gateway.native.library.models import LibraryFile, LibraryList
from shared.store.base import ObjectMissing

router: Final = APIRouter(prefix="/v1/library", tags=["library"])
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]
TheLibrary = Annotated[LibraryFiles, Depends(part(LibraryFiles))]
TRIES: Final = 3


@router.get("")
async def list_library(
    caller: Reader,
    library: TheLibrary,
    public: Annotated[PublicUrl, Depends(part(PublicUrl))],
    start_token: Annotated[str, Query(max_length=255, description="`next_token` of the page before")] = "",
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LibraryList:
    """List the account's files by name."""
    found = await library.page(caller.account, start_token, page_size + 1)
    files = [
        LibraryFile(
            name=file.name,
            bytes=file.size,
            modified_at=file.modified_ms,
            url=f"{public.base}/v1/library/{file.name}",
        )
        for file in found[:page_size]
    ]
    return LibraryList(files=files, next_token=files[-1].name if len(found) > page_size else None)


@router.head("/{name}", response_class=Response, include_in_schema=False)
@router.get("/{name}", response_class=Response)
async def download_library_file(request: Request, caller: Reader, library: TheLibrary, name: str) -> Response:
    """Download a file of the library. Range requests are supported."""
    for _ in range(TRIES):  # between `get` and the read, a more exact file may replace it
        file = await library.get(caller.account, name)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        try:
            read = partial(library.read, file, chunk=PIECE)
            return await send(request, Content(file.size, tag_of(file.version, file.size), read, name, kind))
        except ObjectMissing:
            continue
    raise no_such("file")


@router.delete("/{name}", status_code=204, responses={202: {"description": "It will be, soon"}})
async def delete_library_file(caller: Writer, library: TheLibrary, name: str) -> Response:
    """Delete a file of the library."""
    return Response(status_code=204 if await library.delete(caller.account, name) else 202)
