"""Previews: a JPEG, or one keyframe as an MP4, of the live picture or of a moment of the archive."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final

from fastapi import Depends
from fastapi.responses import Response

from services.gateway.delivery.moments.find import find_moment, newest_moment
from services.gateway.delivery.moments.pictures import Look, MomentPictures
from services.gateway.delivery.moments.routes import sent
from services.gateway.facades.flussonic.archive_routes import Watched
from services.gateway.facades.flussonic.mount import mounted
from services.gateway.http.parts import part

PREVIEW: Final = re.compile(r"(?:(\d{1,11})-)?preview\.(jpg|mp4)", re.ASCII)
LIVE_S: Final = 1
MOMENT_S: Final = 60
FORMS: Final = {"jpg": Look("jpeg"), "mp4": Look("mp4")}


async def preview(
    watched: Watched, pictures: Annotated[MomentPictures, Depends(part(MomentPictures))], leaf: str
) -> Response:
    """Return a preview; in a gap, of what follows it."""
    found = PREVIEW.fullmatch(leaf)
    assert found is not None  # noqa: S101  what is mounted matches
    account, keep_s = watched.stream.account, LIVE_S
    if found[1] is None:
        event = watched.stream.event
        moment = await newest_moment(watched.delivery, account, event)
    else:
        event, keep_s = await watched.dvr.event_at(watched.stream, int(found[1]) * 1000), MOMENT_S
        moment = await find_moment(watched.delivery, account, event, "wall", Fraction(int(found[1])))
    cache = f"{watched.viewer.scope}, max-age={min(watched.viewer.keep_s, keep_s)}"
    content = await pictures.picture(account, event, moment, FORMS[found[2]], cache)
    return await sent(watched.request, content)


mounted(PREVIEW.pattern, preview)
