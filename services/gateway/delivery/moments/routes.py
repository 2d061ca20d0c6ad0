"""`GET /v1/jobs/{id}/image`: the picture of a moment of a live or finished recording."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.delivery.moments.find import Moment, find_moment, newest_moment
from services.gateway.delivery.moments.pictures import Look, MomentPictures
from services.gateway.delivery.parts import Delivery, delivery_of
from services.gateway.domain.clips.timecodes import Timecodes
from services.gateway.domain.clips.window import Names, TimecodeRange
from services.gateway.domain.errors import Invalid, invalid, no_such
from services.gateway.http.broker import broker_here
from services.gateway.http.files import Content, send
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.http.timecodes import TimecodeText
from services.gateway.identity.auth import Caller, require
from shared.media.timecode import parse_label
from shared.messages.images import LARGEST_IMAGE, SMALLEST_IMAGE, ImageFormat
from shared.store.base import ObjectMissing

router: Final = APIRouter(tags=["media"], dependencies=[Depends(broker_here)])
LIVE_CACHE: Final = "private, max-age=1"
MOMENT_CACHE: Final = "private, max-age=60"
_SECONDS: Final = re.compile(r"\d{1,11}(\.\d{1,9})?", re.ASCII)
Side = Annotated[int | None, Query(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)]
Text = Annotated[str | None, Query(max_length=24)]


def asked_look(
    form: Annotated[ImageFormat, Query(alias="format")] = "jpeg",
    width: Side = None,
    height: Side = None,
    quality: Annotated[int, Query(ge=1, le=100, description="Of JPEG and WebP")] = 85,
) -> Look:
    """Return how the picture is to look: with one side the aspect is kept, with both it is cropped."""
    return Look(form, width, height, quality)


class AskedMoment:
    """The moment that is asked for, by one of three clocks; none: the newest picture."""

    def __init__(
        self,
        at: Annotated[str | None, Query(max_length=24, description="Epoch seconds, such as 1700000000.5")] = None,
        stream_time: Annotated[str | None, Query(max_length=24, description="Seconds into the recording")] = None,
        timecode: Annotated[TimecodeText | None, Query()] = None,
    ) -> None:
        if sum(one is not None for one in (at, stream_time, timecode)) > 1:
            raise invalid("", "takes one of at, stream_time and timecode")
        self._at, self._stream_time, self._timecode = at, stream_time, timecode

    @property
    def newest(self) -> bool:
        """Whether the newest picture is asked for."""
        return self._at is None and self._stream_time is None and self._timecode is None

    async def of(self, delivery: Delivery, timecodes: Timecodes, account: str, event: str) -> Moment:
        """Return the moment in a recording; Invalid, NotFound."""
        if self._at is not None:
            return await find_moment(delivery, account, event, "wall", _seconds("at", self._at))
        if self._stream_time is not None:
            return await find_moment(delivery, account, event, "stream", _seconds("stream_time", self._stream_time))
        if self._timecode is not None:
            await delivery.job(account, event)
            at = await _of_timecode(timecodes, account, event, self._timecode)
            return await find_moment(delivery, account, event, "stream", at)
        return await newest_moment(delivery, account, event)


@router.head("/v1/jobs/{event}/image", response_class=Response, include_in_schema=False)
@router.get("/v1/jobs/{event}/image", response_class=Response)
async def get_job_image(
    request: Request,
    event: HexPath,
    caller: Annotated[Caller, Depends(require("playback", "jobs:read"))],
    pictures: Annotated[MomentPictures, Depends(part(MomentPictures))],
    timecodes: Annotated[Timecodes, Depends(part(Timecodes))],
    moment: Annotated[AskedMoment, Depends()],
    look: Annotated[Look, Depends(asked_look)],
) -> Response:
    """Get the picture of a moment; in a gap, the first one after it. Without a moment: the newest picture."""
    found = await moment.of(delivery_of(request), timecodes, caller.account, event)
    cache = LIVE_CACHE if moment.newest else MOMENT_CACHE
    return await sent(request, await pictures.picture(caller.account, event, found, look, cache))


async def sent(request: Request, content: Content) -> Response:
    """Answer with a picture; NotFound when its file has gone meanwhile."""
    try:
        return await send(request, content)
    except ObjectMissing as error:
        raise no_such("picture") from error


async def _of_timecode(timecodes: Timecodes, account: str, event: str, text: str) -> Fraction:
    names = Names("timecode", "timecode", "timecode")
    (settled,) = await timecodes.settle(account, event, [TimecodeRange(parse_label(text), None, None, False, names)])
    if isinstance(settled, Invalid):
        if settled.code == "NO_TIMECODES":
            raise invalid("timecode", "the encoder sends no timecodes; use at or stream_time", code=settled.code)
        raise settled
    if settled.start is None:
        raise invalid("timecode", "is that of no picture")
    return settled.start


def _seconds(field: str, text: str) -> Fraction:
    if not _SECONDS.fullmatch(text):
        raise invalid(field, "must be seconds, such as 1700000000 or 1700000000.5")
    return Fraction(text)
