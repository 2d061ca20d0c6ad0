"""Routes of delivery: an event's tree under a signed path, the same tree for API keys, and minting of paths."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, field_validator
from starlette.responses import Response

from services.gateway.delivery.bodies import Body
from services.gateway.delivery.objects import MOST_TRACKS, TRACKS, find_object, send_object
from services.gateway.delivery.parts import delivery_of
from services.gateway.delivery.renditions import PARTS
from services.gateway.delivery.tokens import LIFETIME, LONGEST, SHORTEST, Pass, playback_url, read_token
from services.gateway.delivery.views import View, Window
from services.gateway.domain.errors import invalid, no_such
from services.gateway.http.bodies import documents, json_body, no_boolean
from services.gateway.http.ids import HexPath
from services.gateway.http.problems import ApiError
from services.gateway.http.ranges import matches
from services.gateway.identity.auth import Caller, require
from shared.messages.clips import LONGEST_CLIP
from shared.runtime.clock import Clock

PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
LONGEST_RANGE_MS: Final = LONGEST_CLIP.days * 86_400_000
YEAR_S: Final = 31_536_000
CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Range, If-None-Match, If-Range, X-API-KEY, Authorization",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Expose-Headers": (
        "Content-Length, Content-Range, ETag, Date, X-Reelay-Time, X-Reelay-Stream-Time, X-Reelay-Skipped"
    ),
    "Access-Control-Max-Age": "86400",
}
_NAME: Final = re.compile(r"((?:primary|backup)-[1-3])-(live|dvr|range)(?:-(" + PARTS + r"))?\.m3u8")
_EPOCH: Final = re.compile(r"\d{1,11}(\.\d{1,9})?")
_SECOND: Final = timedelta(seconds=1)


class OpenRoute(APIRoute):
    """Lets players on other sites read the answers, errors too (Fetch, CORS protocol)."""

    always = CORS


@dataclass(frozen=True, slots=True)
class Viewer:
    """The account whose events may be watched, and how long (s) answers may be cached; `scope` as in Cache-Control."""

    account: str
    scope: str
    keep_s: int


def viewer_by(found: Pass | None, clock: Clock) -> Viewer:
    """Return the viewer that a token admits; 403 without a valid one."""
    if found is None:
        raise ApiError(403, "this playback URL is not valid, or no longer", headers={"Cache-Control": "no-store"})
    left = found.expires_s - clock.now_ms() // 1000
    return Viewer(found.account, "public", max(min(left, YEAR_S), 0))


async def by_token(request: Request, token: str, event: HexPath) -> None:
    """Accept a request with a valid signed path; 403 for others."""
    delivery = delivery_of(request)
    request.state.viewer = viewer_by(read_token(delivery.vault, delivery.clock, token, event), delivery.clock)


async def by_key(request: Request, caller: Annotated[Caller, Depends(require("playback", "jobs:read"))]) -> None:
    """Accept a request with an API key that may watch."""
    request.state.viewer = Viewer(caller.account, "private", YEAR_S)


def viewer_of(request: Request) -> Viewer:
    """Return the viewer that the router has accepted."""
    viewer: Viewer = request.state.viewer
    return viewer


def _epoch_ms(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not _EPOCH.fullmatch(text):
        raise invalid(field, "must be seconds since the epoch, such as 1700000000 or 1700000000.5")
    return int(Decimal(text) * 1000)


def asked_range(
    start: Annotated[str | None, Query(max_length=24, description="Epoch seconds")] = None,
    end: Annotated[str | None, Query(max_length=24, description="Epoch seconds; none: the live edge")] = None,
) -> Window | None:
    """Parse `?start=&end=`; None without a start. Invalid names the field that is wrong."""
    start_ms, end_ms = _epoch_ms("start", start), _epoch_ms("end", end)
    if start_ms is None:
        if end_ms is not None:
            raise invalid("start", "is needed with end")
        return None
    if end_ms is not None and end_ms <= start_ms:
        raise invalid("end", "must be after start")
    if end_ms is not None and end_ms - start_ms > LONGEST_RANGE_MS:
        raise invalid("end", "a range is at most 48 hours long")
    return Window("range", start_ms, end_ms)


Only = Annotated[int | None, Query(ge=1, le=MOST_TRACKS, description="One track alone, by its id")]
Range = Annotated[Window | None, Depends(asked_range)]


async def _view(request: Request, event: str) -> View:
    delivery, account = delivery_of(request), viewer_of(request).account
    job = await delivery.job(account, event)
    return View(delivery, job, await delivery.index(account, event))


def send_playlist(request: Request, body: Body, viewer: Viewer) -> Response:
    """Answer with a playlist, compressed when that is worth it."""
    headers = {
        "ETag": body.tag,
        "Cache-Control": f"{viewer.scope}, max-age={min(1, viewer.keep_s)}",
        "Vary": "Accept-Encoding",
    }
    if matches(request.headers.get("if-none-match"), body.tag):
        return Response(status_code=304, headers=headers)
    content = body.plain
    if body.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = body.packed
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(content))
    shown = b"" if request.method == "HEAD" else content
    return Response(shown, headers=headers, media_type=PLAYLIST_TYPE)


async def variants(request: Request, event: HexPath, window: Range) -> Response:
    """Play the live edge (once the job has ended: all of it), or with start and end a range by wall clock."""
    view = await _view(request, event)
    body = await view.variants(window or Window("dvr" if view.ended else "live"), apart=True)
    return send_playlist(request, body, viewer_of(request))


async def dvr(request: Request, event: HexPath) -> Response:
    """Play the whole DVR window."""
    body = await (await _view(request, event)).variants(Window("dvr"), apart=True)
    return send_playlist(request, body, viewer_of(request))


async def media(request: Request, event: HexPath, playlist: str, window: Range) -> Response:
    """Return the media playlist of one track, or of its pictures or a sound track alone."""
    match = _NAME.fullmatch(playlist)
    if match is None or (match[2] == "range") != (window is not None):
        raise no_such("playlist")
    chosen = window or Window("dvr" if match[2] == "dvr" else "live")
    body = await (await _view(request, event)).media(TRACKS[match[1]], chosen, match[3] or "")
    return send_playlist(request, body, viewer_of(request))


async def segment(request: Request, event: HexPath, session: str, track: str, file: str, only: Only = None) -> Response:
    """Return a segment or an init segment, or a range of its bytes."""
    delivery, viewer = delivery_of(request), viewer_of(request)
    await delivery.job(viewer.account, event)
    info = await find_object(delivery, await delivery.index(viewer.account, event), session, track, file)
    cache = f"{viewer.scope}, max-age={viewer.keep_s}, immutable"
    return await send_object(request, delivery, info, cache, only)


async def preflight() -> Response:
    """Answer a CORS preflight request."""
    return Response(status_code=204)


Answers = tuple[tuple[str, str, Callable[..., Awaitable[Response]]], ...]
ANSWERS: Final[Answers] = (
    ("/index.m3u8", "index", variants),
    ("/dvr.m3u8", "dvr", dvr),
    ("/{playlist}", "playlist", media),
    ("/{session}/{track}/{file}", "segment", segment),
)


def tree(prefix: str, let_in: Callable[..., Awaitable[None]], name: str, answers: Answers = ANSWERS) -> APIRouter:
    """Make the routes of a tree, an event's by default, below `prefix`, guarded by `let_in`."""
    made = APIRouter(prefix=prefix, tags=["playback"], route_class=OpenRoute)
    for path, kind, answer in answers:
        made.add_api_route(
            path, answer, methods=["GET", "HEAD"], response_class=Response, operation_id=f"{name}_{kind}",
            dependencies=[Depends(let_in)],
        )  # fmt: skip
        made.add_api_route(path, preflight, methods=["OPTIONS"], include_in_schema=False)
    return made


class PlaybackCreate(BaseModel):
    """How long the playback URLs are valid."""

    expires_in: int = Field(LIFETIME // _SECOND, ge=SHORTEST // _SECOND, le=LONGEST // _SECOND, description="Seconds")

    _whole = field_validator("expires_in", mode="before")(no_boolean)


class PlaybackView(BaseModel):
    """URLs that play an event without an API key until `expires_at` (ms since the epoch)."""

    url: str = Field(description="Live edge; once the job has ended, all of it. Takes ?start=&end=")
    dvr_url: str = Field(description="The whole DVR window")
    expires_at: int


async def mint(
    request: Request,
    event: HexPath,
    caller: Annotated[Caller, Depends(require("playback", "jobs:read"))],
    asked: Annotated[PlaybackCreate, Depends(json_body(PlaybackCreate, optional=True))],
) -> PlaybackView:
    """Make URLs that play the event without an API key and expire."""
    delivery = delivery_of(request)
    await delivery.job(caller.account, event)
    expires_s = delivery.clock.now_ms() // 1000 + asked.expires_in
    url, dvr_url = (
        playback_url(
            delivery.vault, delivery.clock, delivery.base_url(), caller.account, event, kind=kind, expires_s=expires_s
        )
        for kind in ("index", "dvr")
    )
    return PlaybackView(url=url, dvr_url=dvr_url, expires_at=expires_s * 1000)


def make_router() -> APIRouter:
    """Combine all routes."""
    made = APIRouter()
    made.add_api_route(
        "/v1/jobs/{event}/playback", mint, methods=["POST"], status_code=201, tags=["playback"],
        openapi_extra=documents(PlaybackCreate, optional=True), operation_id="create_playback",
    )  # fmt: skip
    made.include_router(tree("/play/{token}/{event}", by_token, "play"))
    made.include_router(tree("/v1/jobs/{event}/hls", by_key, "job_hls"))
    return made


router: Final = make_router()
