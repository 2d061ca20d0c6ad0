"""Where the archive URLs lie: below the names of streams, at the root, and only in the forms that are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from services.gateway.delivery.parts import delivery_of
from services.gateway.delivery.routes import CORS, YEAR_S, Viewer, preflight
from services.gateway.delivery.tokens import read_name_token, read_token
from services.gateway.domain.errors import NotFound, no_such
from services.gateway.domain.quotas import Quotas
from services.gateway.facades.facade import dialect
from services.gateway.facades.flussonic.base import FACADE, traced
from services.gateway.facades.flussonic.login import caller_of, given_key
from services.gateway.facades.flussonic.names import is_name
from services.gateway.facades.flussonic.play.admission import Admission, Admitted
from services.gateway.facades.flussonic.play.door import asked_about, player_of
from services.gateway.facades.flussonic.streams import Stream, Streams
from services.gateway.http.parts import part_of
from services.gateway.http.problems import ApiError

_TOKEN: Final = re.compile(r"[0-9a-f]{1,10}\.([a-z0-9][a-z0-9-]{0,31})\.[A-Za-z0-9_-]{43}")
_Traced: Final[type[APIRoute]] = traced(dialect(FACADE.render_error))


class MountedRoute(_Traced):  # type: ignore[misc,valid-type]  # a class that is made
    """Matches a name that a stream may have, and below it what the endpoint's pattern matches, and nothing else."""

    always = CORS

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request is for this route."""
        match, child = super().matches(scope)
        if match is Match.NONE:
            return match, child
        params = child["path_params"]
        below = "/".join(str(value) for name, value in params.items() if name != "name")
        pattern: re.Pattern[str] = self.endpoint.pattern
        if not is_name(params["name"]) or not pattern.fullmatch(below):
            return Match.NONE, {}
        return match, child


MOUNT: Final = APIRouter(route_class=MountedRoute)


def mounted(pattern: str, answer: Callable[..., Any], *, path: str = "/{name:path}/{leaf}") -> None:
    """Add a route below the names of streams, for what follows a name in full."""
    compiled = re.compile(pattern, re.ASCII)

    async def options() -> Any:
        return await preflight()

    for endpoint, methods in ((answer, ["GET", "HEAD"]), (options, ["OPTIONS"])):
        setattr(endpoint, "pattern", compiled)  # noqa: B010  a function has no such attribute by its type
        MOUNT.add_api_route(path, endpoint, methods=methods, include_in_schema=False, response_model=None)


def matched(pattern: re.Pattern[str], leaf: str) -> re.Match[str]:
    """Return the parts of an address below a stream's name; NotFound for what is not mounted."""
    found = pattern.fullmatch(leaf)
    if found is None:
        raise no_such("file")
    return found


async def watched(request: Request, name: str) -> tuple[Stream, Viewer]:
    """Return the stream of a request by a token of ours (`token`: 403), or by an API key (401, NotFound).

    A name's token opens all that the name means; the token of one of its jobs opens that job alone. Where the stream
    has a backend, that is asked about everybody but keys, whatever the token.
    """
    streams, token = part_of(request, Streams), request.query_params.get("token")
    keyed = token is None and bool(given_key(request))
    if not keyed and (met := await _admitted(request, streams, name, token)):
        return met
    if token is None:
        caller = await caller_of(request, "playback", "jobs:read")
        return await streams.find(caller.account, name), Viewer(caller.account, "private", YEAR_S)
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise _invalid()
    quotas, address = part_of(request, Quotas), request.client.host if request.client else ""
    try:
        stream = await streams.find(found[1], name, lambda: quotas.stranger(address))
    except NotFound as error:  # as for a name that is there: strangers find none out
        raise _invalid() from error
    delivery = delivery_of(request)
    passed = read_name_token(delivery.vault, delivery.clock, token, stream.name)
    for event in stream.events:
        if passed is None and (passed := read_token(delivery.vault, delivery.clock, token, event)):
            stream = replace(stream, events=(event,))
    if passed is None or part_of(request, Admission).rule_of(stream.config):  # a backend decides, and was not asked
        raise _invalid()
    left = passed.expires_s - delivery.clock.now_ms() // 1000
    return stream, Viewer(passed.account, "public", max(min(left, YEAR_S), 0))


async def _admitted(request: Request, streams: Streams, name: str, token: str | None) -> tuple[Stream, Viewer] | None:
    """Return the stream that a backend lets the player of a request play; None where none is asked."""
    admission, account = part_of(request, Admission), request.query_params.get("account")
    if token is not None and (found := _TOKEN.fullmatch(token)):
        account = found[1]  # whatever the query says
    stream = asked_about(streams, admission, name, account)
    rule = admission.rule_of(stream.config) if stream else None
    if stream is None or rule is None:
        return None
    admitted = await admission.admit(stream.account, rule, player_of(request, stream.name))
    request.state.admitted = admitted
    return stream, Viewer(stream.account, "private", 0)


def admitted_of(request: Request) -> Admitted | None:
    """Return the session that a backend has let in; None where none was asked."""
    found: Admitted | None = getattr(request.state, "admitted", None)
    return found


def _invalid() -> ApiError:
    return ApiError(403, "this token is not valid, or no longer", headers={"Cache-Control": "no-store"})
