"""Previews: a JPEG, or one keyframe as an MP4, of the live picture or of a moment of the archive."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.responses import Response

from services.gateway.delivery.moments.find import find_moment, newest_moment
from services.gateway.delivery.moments.pictures import Look, MomentPictures
from services.gateway.delivery.moments.routes import sent
from services.gateway.facades.flussonic.archive_routes import Watched
from services.gateway.facades.flussonic.mount import admitted_of, matched, mounted
from services.gateway.http.parts import part

PREVIEW: Final = re.compile(r"(?:(\d{1,11})-)?preview\.(jpg|mp4)", re.ASCII)
LIVE_S: Final = 1
MOMENT_S: Final = 60
FORMS: Final = {"jpg": Look("jpeg"), "mp4": Look("mp4")}


async def preview(
    watched: Watched, pictures: Annotated[MomentPictures, Depends(part(MomentPictures))], leaf: str
) -> Response:
    """Return a preview; in a gap, of what follows it."""
    found = matched(PREVIEW, leaf)
    account, keep_s, viewer = watched.stream.account, LIVE_S, None
    if found[1] is None:
        event = watched.stream.event
        moment = await newest_moment(watched.delivery, account, event)
    else:
        viewer = _viewer(watched.request)
        event, keep_s = await watched.dvr.event_at(watched.stream, int(found[1]) * 1000), MOMENT_S
        moment = await find_moment(watched.delivery, account, event, "wall", Fraction(int(found[1])))
    cache = f"{watched.viewer.scope}, max-age={min(watched.viewer.keep_s, keep_s)}"
    content = await pictures.picture(account, event, moment, FORMS[found[2]], cache, viewer)
    return await sent(watched.request, content)


def _viewer(request: Request) -> str | None:
    """Return the address of a viewer who was let in by something else than a key."""
    if "token" not in request.query_params and admitted_of(request) is None:
        return None
    return request.client.host if request.client else ""


mounted(PREVIEW.pattern, preview)
