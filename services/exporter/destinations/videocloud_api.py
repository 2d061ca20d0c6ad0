"""Calls of Video Cloud's CMS and Dynamic Ingest APIs, with a token that is renewed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from services.exporter.destinations.hidden import hidden, of_login
from services.exporter.destinations.http_body import Reply
from services.exporter.destinations.http_server import Login, Web, WebFile, WebServer
from services.exporter.destinations.oauth import Tokens
from shared.errors import DestinationFailed
from shared.runtime.clock import Clock

_BUSY: Final = frozenset({408, 425, 429})
_LONGEST: Final = 600


@dataclass(frozen=True, slots=True)
class Bases:
    """Where the three APIs are."""

    oauth: str
    cms: str
    ingest: str


class CloudFault(DestinationFailed):
    """Video Cloud refused a call; `codes` are its own."""

    def __init__(self, message: str, status: int, codes: frozenset[str], *, final: bool) -> None:
        super().__init__(message, final=final)
        self.status = status
        self.codes = codes


class VideoCloud:
    """One account, as one client."""

    def __init__(self, web: Web, clock: Clock, bases: Bases, account: str, client: tuple[str, str]) -> None:
        self._bases = bases
        self._account = quote(account, safe="")
        self._secrets = of_login(*client)
        tokens = Tokens(web, clock, f"{bases.oauth.rstrip('/')}/v4/access_token", *client)
        self._server = WebServer(web, Login(bearer=tokens.get, forget=tokens.drop))

    async def create(self, video: dict[str, Any]) -> str:
        """Create a video without a file, and return its id."""
        return str(_identified(await self._cms("POST", "", video))["id"])

    async def find(self, reference: str) -> dict[str, Any] | None:
        """Return the video that has a reference id; None when there is none."""
        try:
            return _identified(await self._cms("GET", f"/ref:{quote(reference, safe='')}"))
        except CloudFault as fault:
            if fault.status == 404:
                return None
            raise

    async def drop(self, video: str) -> None:
        """Delete a video, unless a file was ever ingested into it; do nothing when it is not there."""
        try:
            if await self.master(video) is None and not await self.jobs(video):
                await self._cms("DELETE", f"/{video}")
        except CloudFault as fault:
            if fault.status != 404:
                raise

    async def master(self, video: str) -> dict[str, Any] | None:
        """Return what is told of a video's source file; None when there is none."""
        try:
            return await self._cms("GET", f"/{video}/digital_master")
        except CloudFault as fault:
            if fault.status == 404:
                return None
            raise

    async def jobs(self, video: str) -> list[dict[str, Any]]:
        """Return the ingest jobs of a video that are known: those of 7 days."""
        found = await self._call("GET", f"{self._of(self._bases.cms)}/videos/{video}/ingest_jobs")
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []

    async def job(self, video: str, job: str) -> dict[str, Any]:
        """Return an ingest job."""
        return await self._cms("GET", f"/{video}/ingest_jobs/{quote(job, safe='')}")

    async def upload_urls(self, video: str, name: str) -> dict[str, Any]:
        """Return where a source file can be put: a bucket with temporary keys, and the URL that ingest reads."""
        path = f"{self._of(self._bases.ingest)}/videos/{video}/upload-urls/{quote(name, safe='')}"
        return _object(await self._call("GET", path))

    async def ingest(self, video: str, request: dict[str, Any]) -> str:
        """Ask for a file to be ingested, and return the job's id."""
        path = f"{self._of(self._bases.ingest)}/videos/{video}/ingest-requests"
        return str(_object(await self._call("POST", path, request)).get("id", ""))

    async def count(self) -> None:
        """Ask for the number of videos: what any client may that may do something."""
        await self._call("GET", f"{self._of(self._bases.cms)}/counts/videos")

    async def _cms(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _object(await self._call(method, f"{self._of(self._bases.cms)}/videos{path}", body))

    def _of(self, base: str) -> str:
        return f"{base.rstrip('/')}/v1/accounts/{self._account}"

    async def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        reply = await self._ask(method, WebFile(url, url), body)
        if not 200 <= reply.status < 300:
            raise self._fault(method, reply)
        return _read(reply.body)

    async def _ask(self, method: str, at: WebFile, body: dict[str, Any] | None) -> Reply:
        if body is None:
            return await self._server.ask(method, at, accept="application/json")
        content = json.dumps(body).encode()
        return await self._server.ask(method, at, content, content_type="application/json", accept="application/json")

    def _fault(self, method: str, reply: Reply) -> CloudFault:
        rows = _read(reply.body)
        rows = [row for row in (rows if isinstance(rows, list) else [rows]) if isinstance(row, dict)]
        codes = [str(row.get("error_code") or row.get("error") or "") for row in rows]
        texts = [str(row.get("message") or row.get("error_description") or "") for row in rows]
        said = "; ".join(": ".join(filter(None, pair)) for pair in zip(codes, texts, strict=True))
        said = hidden(said, (*self._secrets, *self._server.secrets))[:_LONGEST]
        final = reply.status < 500 and reply.status not in _BUSY
        text = f"Video Cloud refused ({method}, HTTP {reply.status}): {said or 'it does not say why'}"
        return CloudFault(text, reply.status, frozenset(codes), final=final)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return {}


def _object(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise DestinationFailed("Video Cloud answered something else than an object")
    return found


def _identified(video: dict[str, Any]) -> dict[str, Any]:
    if not video.get("id"):
        raise DestinationFailed("Video Cloud answered a video without an id")
    return video
