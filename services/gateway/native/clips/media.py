"""Downloads of clips."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import Clips, KnownClip
from services.gateway.domain.errors import Denied, NotFound, NotReady, no_such
from services.gateway.http.broker import broker_here
from services.gateway.http.files import send
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.identity.auth import identify
from shared.store.base import ObjectMissing

TheClips = Annotated[Clips, Depends(part(Clips))]
TheDownloads = Annotated[Downloads, Depends(part(Downloads))]
router: Final = APIRouter(prefix="/v1", tags=["media"], dependencies=[Depends(broker_here)])
TRIES: Final = 3


class Link:
    """The parameters of a signed link, if the request is one."""

    def __init__(
        self,
        account: Annotated[str | None, Query(max_length=32, description="Of a signed link")] = None,
        expires: Annotated[int | None, Query(ge=0, le=10**12, description="Of a signed link")] = None,
        signature: Annotated[str | None, Query(max_length=64, description="Of a signed link")] = None,
    ) -> None:
        self.account = account
        self.expires = expires
        self.signature = signature


TheLink = Annotated[Link, Depends()]


async def reader_of(request: Request, downloads: Downloads, clip: str, link: Link) -> str:
    """Return the account whose clip may be read, by a signed link or an API key; Denied."""
    account, expires, signature = link.account, link.expires, link.signature
    if signature is not None:
        if account is None or expires is None or not downloads.is_signed(account, clip, expires, signature):
            raise Denied("this link is not valid, or no longer")
        return account
    caller = await identify(request)
    if not (caller.may("vods:read") or caller.may("playback")):
        raise Denied("this needs a key with the scope vods:read or playback")
    return caller.account


@router.head("/vods/{jvod_id}/media.mp4", response_class=Response, include_in_schema=False)
@router.get("/vods/{jvod_id}/media.mp4", response_class=Response)
async def download_vod(
    request: Request,
    clips: TheClips,
    downloads: TheDownloads,
    jvod_id: HexPath,
    link: TheLink,
) -> Response:
    """Download a clip: the fast file as soon as it exists, later the exact one. Range requests are supported."""
    owner = await reader_of(request, downloads, jvod_id, link)
    for _ in range(TRIES):  # between reading the record and the file, another file may replace it
        known = await clips.find(owner, jvod_id)
        file = known.record.file if known.record else None
        if file is None:
            raise _no_file(known)
        try:
            return await send(request, downloads.content(known, file))
        except ObjectMissing:
            continue
    raise no_such("file: it is no longer kept")


def _no_file(known: KnownClip) -> NotFound:
    if known.state in {"failed", "cancelling", "cancelled", "error"}:
        return NotFound(f"the clip has no file: it is {known.state}")
    return NotReady("the clip has no file yet")
