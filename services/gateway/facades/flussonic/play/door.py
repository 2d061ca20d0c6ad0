"""Which stream a player means that has no token of ours, and what a request says of its player."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from services.gateway.facades.flussonic.errors import trace_of
from services.gateway.facades.flussonic.names import is_name
from services.gateway.facades.flussonic.play.admission import Admission
from services.gateway.facades.flussonic.play.session import Player, Proto
from services.gateway.facades.flussonic.streams import Stream, Streams

LONGEST_TEXT: Final = 512
_PROTOS: Final[dict[str, Proto]] = {
    "m3u8": "hls", "mpd": "hls", "m4s": "hls", "ts": "mpegts", "mpegts": "mpegts", "jpg": "jpeg", "json": "json",
}  # fmt: skip


def proto_of(path: str) -> Proto:
    """Return the protocol of an address below a stream's name."""
    leaf = path.rpartition("/")[2]
    if leaf.endswith("preview.mp4"):
        return "jpeg"
    if leaf.startswith("init-"):
        return "hls"
    return _PROTOS.get(leaf.rpartition(".")[2], "mp4")


def asked_about(streams: Streams, admission: Admission, name: str, account: str | None) -> Stream | None:
    """Return the stream of a name whose players a backend is asked about; of several accounts', the oldest."""
    if not is_name(name):
        return None
    for alias in streams.aliases.called(name):
        if account in {None, alias.account} and alias.made and (alias.asks or admission.usual):
            return streams.of(alias)
    return None


def player_of(request: Request, name: str) -> Player:
    """Return what a request says of its player."""
    headers, query = request.headers, request.query_params
    return Player(
        name=name,
        ip=request.client.host if request.client else "",
        proto=proto_of(request.url.path),
        token=query.get("token", "")[:LONGEST_TEXT],
        user_agent=headers.get("user-agent", "")[:LONGEST_TEXT],
        referer=headers.get("referer", "")[:LONGEST_TEXT],
        qs=request.url.query[:LONGEST_TEXT],
        trace=trace_of(request),
    )
