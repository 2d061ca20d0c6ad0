"""`/flussonic/streams.m3u`: an account's streams for television clients, with their catch-up. The address is ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import Depends, Query
from fastapi.responses import Response

from services.gateway.delivery.tokens import LONGEST, SHORTEST, make_name_token
from services.gateway.facades.flussonic.base import add
from services.gateway.facades.flussonic.dvr import Dvr
from services.gateway.facades.flussonic.listing import Listing
from services.gateway.facades.flussonic.login import may
from services.gateway.facades.flussonic.views import StreamViews
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller

TYPE: Final = "audio/x-mpegurl"
WEEK: Final = timedelta(days=7)
_SECOND: Final = timedelta(seconds=1)
LEAVES: Final = {"hls": "index.m3u8", "mono": "mono.m3u8", "ts": "mpegts"}


async def channels(
    caller: Annotated[Caller, Depends(may("jobs:read", "playback"))],
    listing: Annotated[Listing, Depends(part(Listing))],
    views: Annotated[StreamViews, Depends(part(StreamViews))],
    dvr: Annotated[Dvr, Depends(part(Dvr))],
    kind: Annotated[Literal["hls", "mono", "ts"], Query(alias="format")] = "hls",
    expires_in: Annotated[int, Query(ge=SHORTEST // _SECOND, le=LONGEST // _SECOND)] = WEEK // _SECOND,
) -> Response:
    """List all streams whose job is there, each with a token for its recordings."""
    delivery = dvr.delivery
    expires_s = delivery.clock.now_ms() // 1000 + expires_in
    lines = ["#EXTM3U"]
    for name, job in await listing.every(caller.account):
        title = one_line(job.name or name)
        days = f'catchup-days="{views.retention_days}"'
        token = make_name_token(delivery.vault, caller.account, name, expires_s)
        lines.append(f'#EXTINF:-1 tvg-id="{name}" catchup="flussonic" {days},{title}')
        lines.append(f"{delivery.base_url()}/{quote(name)}/{LEAVES[kind]}?token={token}")
    return Response("\n".join(lines) + "\n", media_type=TYPE, headers={"Cache-Control": "no-store"})


def one_line(text: str) -> str:
    """Return a title that stays in its line."""
    return " ".join(text.split())


add("GET", "/flussonic/streams.m3u", channels)
