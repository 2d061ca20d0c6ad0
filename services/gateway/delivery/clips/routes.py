"""Routes of clips' playlists: under a signed path, and for API keys."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.gateway.delivery.clips.playback import ClipPlayback
from services.gateway.delivery.objects import send_object
from services.gateway.delivery.parts import delivery_of
from services.gateway.delivery.routes import YEAR_S, Answers, Only, Viewer, send_playlist, tree, viewer_by, viewer_of
from services.gateway.delivery.tokens import read_clip_token
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require

ThePlayback = Annotated[ClipPlayback, Depends(part(ClipPlayback))]


async def by_token(request: Request, token: str, clip: HexPath) -> None:
    """Accept a request with a valid signed path of this clip; 403 for others."""
    delivery = delivery_of(request)
    request.state.viewer = viewer_by(read_clip_token(delivery.vault, delivery.clock, token, clip), delivery.clock)


async def by_key(request: Request, caller: Annotated[Caller, Depends(require("playback", "vods:read"))]) -> None:
    """Accept a request with an API key that may watch clips."""
    request.state.viewer = Viewer(caller.account, "private", YEAR_S)


async def playlist(request: Request, clip: HexPath, playback: ThePlayback) -> Response:
    """Play a clip from the recording's segments, whether or not its file exists."""
    viewer = viewer_of(request)
    return send_playlist(request, await playback.variants(viewer.account, clip), viewer)


async def media(request: Request, clip: HexPath, track: str, playback: ThePlayback) -> Response:
    """Return the media playlist of a clip."""
    viewer = viewer_of(request)
    return send_playlist(request, await playback.media(viewer.account, clip, track), viewer)


async def segment(
    request: Request, clip: HexPath, session: str, track: str, file: str, playback: ThePlayback, only: Only = None
) -> Response:
    """Return a segment or an init segment of a clip's playlist, or a range of its bytes."""
    viewer = viewer_of(request)
    info = await playback.segment(viewer.account, clip, f"{session}/{track}/{file}")
    cache = f"{viewer.scope}, max-age={viewer.keep_s}, immutable"
    return await send_object(request, delivery_of(request), info, cache, only)


ANSWERS: Final[Answers] = (
    ("/playlist.m3u8", "playlist", playlist),
    ("/hls/{track}", "media", media),
    ("/hls/{session}/{track}/{file}", "segment", segment),
)


router: Final = APIRouter()
router.include_router(tree("/play/clips/{token}/{clip}", by_token, "play_clip", ANSWERS))
router.include_router(tree("/v1/vods/{clip}", by_key, "vod", ANSWERS))
