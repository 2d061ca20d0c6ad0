"""Downloads: a clip's MP4 and the files of the library."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.delivery.downloads import is_signed
from services.gateway.deps import Deps
from services.gateway.domain.clips.clips import Known
from services.gateway.http.broker import broker_here
from services.gateway.http.files import PIECE, Content, send, tag_of
from services.gateway.http.ids import HexPath
from services.gateway.http.problems import ApiError, not_found
from services.gateway.identity.auth import deps_of, identify
from shared.messages.clips import ClipFile
from shared.store.base import ObjectMissing

router: Final = APIRouter(prefix="/v1", tags=["media"], dependencies=[Depends(broker_here)])
TRIES: Final = 3


async def _account(request: Request, clip: str, account: str | None, expires: int | None, signature: str | None) -> str:
    """Find whose clip may be read: by a signed link, or by an API key."""
    if signature is not None:
        if account is None or expires is None or not is_signed(deps_of(request), account, clip, expires, signature):
            raise ApiError(403, "this link is not valid, or no longer")
        return account
    caller = await identify(request)
    if not (caller.may("vods:read") or caller.may("playback")):
        raise ApiError(403, "this needs a key with the scope vods:read or playback")
    return caller.account


@router.head("/vods/{jvod_id}/media.mp4", response_class=Response, include_in_schema=False)
@router.get("/vods/{jvod_id}/media.mp4", response_class=Response)
async def download_vod(
    request: Request,
    jvod_id: HexPath,
    account: Annotated[str | None, Query(max_length=32, description="Of a signed link")] = None,
    expires: Annotated[int | None, Query(ge=0, le=10**12, description="Of a signed link")] = None,
    signature: Annotated[str | None, Query(max_length=64, description="Of a signed link")] = None,
) -> Response:
    """Download a clip: the fast file as soon as it exists, later the exact one. Range requests are served."""
    deps = deps_of(request)
    owner = await _account(request, jvod_id, account, expires, signature)
    for _ in range(TRIES):  # between the look at the record and the first read, another file may take its place
        known = await deps.clips.find(owner, jvod_id)
        file = known.record.file if known.record else None
        if file is None:
            raise _no_file(known)
        try:
            return await send(request, _content(deps, known, file))
        except ObjectMissing:
            continue
    raise not_found("file: it is no longer kept")


def _no_file(known: Known) -> ApiError:
    if known.state in {"failed", "cancelling", "cancelled", "error"}:
        return ApiError(404, f"the clip has no file: it is {known.state}")
    return ApiError(404, "the clip has no file yet", code="NOT_READY", headers={"Retry-After": "1"})


def _content(deps: Deps, known: Known, file: ClipFile) -> Content:
    headers: tuple[tuple[str, str], ...] = ()
    if file.sha256:  # RFC 9530
        headers = (("Repr-Digest", f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:"),)
    return Content(
        size=file.bytes,
        tag=tag_of(file.key, file.bytes, file.method),
        name=f"{known.request.label or known.request.clip}.mp4",
        read=partial(_read, deps, file.key),
        headers=headers,
    )


def _read(deps: Deps, key: str, offset: int, length: int) -> Iterator[bytes]:
    return deps.store.read(key, offset, length, chunk=PIECE)
