"""A publisher's request, read from the three fields that encoders use for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl

from services.ingester.forms import looks_secret, stream_key
from shared.rtmp.errors import ProtocolError

_MAX_TEXT = 4096
_MAX_ARGS = 64


@dataclass(frozen=True, slots=True, repr=False)
class PublishRequest:
    """A request to publish; its repr contains no key.

    `app` and `stream_name` are without query and outer slashes. `args` merges the query arguments of the tcUrl, the
    app and the stream name; later ones of these override earlier ones. `tc_url` is as received. `peer` is
    `address:port`. `secure`: the connection is RTMPS. `raw_app`, `raw_name` and `announced` (the names in
    releaseStream and FCPublish) are as received.
    """

    app: str
    stream_name: str
    args: Mapping[str, str]
    tc_url: str
    peer: str
    secure: bool = False
    raw_app: str = ""
    raw_name: str = ""
    announced: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The peer's address without port."""
        return self.peer.rpartition(":")[0].strip("[]")

    def stream_key(self) -> str:
        """Return the stream key, in any form it was sent in; raises PublishRefused when there is not exactly one."""
        return stream_key(self.raw_app, self.raw_name, self.tc_url, self.announced)

    @property
    def label(self) -> str:
        """The name shown in logs: the first part of the app, unless it could be the key itself."""
        shown = self.app.partition("/")[0]
        return shown if self.stream_name and not looks_secret(shown) else ""

    def __repr__(self) -> str:
        return f"PublishRequest(app={self.label!r}, args={sorted(self.args)!r}, peer={self.peer!r})"


def make_request(
    app: str, stream_name: str, tc_url: str, *, peer: str, secure: bool, announced: Iterable[str] = ()
) -> PublishRequest:
    """Return the request made of the connect and publish commands; raises ProtocolError when it is too long."""
    announced = tuple(announced)
    if max(map(len, (app, stream_name, tc_url, *announced))) > _MAX_TEXT:
        raise ProtocolError("publish URL is too long")
    app_path, _, app_query = app.partition("?")
    name, _, name_query = stream_name.partition("?")
    args: dict[str, str] = {}
    for query in (tc_url.partition("?")[2], app_query, name_query):
        args.update(_arguments(query))
    return PublishRequest(
        app=app_path.strip("/"),
        stream_name=name.strip("/"),
        args=MappingProxyType(args),
        tc_url=tc_url,
        peer=peer,
        secure=secure,
        raw_app=app,
        raw_name=stream_name,
        announced=announced,
    )


def _arguments(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_ARGS)
    except ValueError as error:
        raise ProtocolError("publish URL has too many arguments") from error
