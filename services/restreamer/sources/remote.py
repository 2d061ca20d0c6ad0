"""A file behind HTTP(S): read by ranges where the server has them, gone on with at the byte where a transfer broke.

RFC 9110, 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, rest
from shared.errors import DestinationFailed, Rejected, Unavailable
from shared.netguard import Networks, UrlRefused, check_url

SCHEMES: Final = ("http", "https")
LONGEST_NAME: Final = 253
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REASONS: Final = {
    401: "access to it was refused",
    403: "access to it was refused",
    404: "it was not found",
    410: "it was not found",
}


def resolved(base: str, reference: str) -> str:
    """Give the URL that another one refers to; SourceError."""
    try:
        return urljoin(base, reference)
    except ValueError:  # its words hold parts of the URL
        raise SourceError("it refers to something that is no URL") from None


class _Broken(Exception):  # noqa: N818  a state of the transfer, shown to nobody
    """The transfer failed in a way that another try may mend; the text is for people."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells one state of a file from the next: its size, and what the server calls it."""

    size: int | None
    tag: str
    changed: str

    def agrees(self, other: _Version) -> bool:
        """Tell whether nothing says that the two differ."""
        pairs = zip((self.size, self.tag, self.changed), (other.size, other.tag, other.changed), strict=True)
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)


class HttpOrigin:
    """A file by its URL. `url` is asked at each connection, as signed ones expire. `where` is its last place.

    The first answer, to a request for `first` bytes, is kept until it is read: a small file takes one request.
    """

    def __init__(
        self,
        url: Callable[[], str],
        client: httpx.Client,
        allowed: Networks,
        limits: Limits,
        stop: Event,
        *,
        start: int = 0,
        first: int | None = None,
    ) -> None:
        self._url = url
        self._client = client
        self._allowed = tuple(allowed)
        self._limits = limits
        self._stop = stop
        self._version: _Version | None = None
        self._waiting: tuple[int, int | None, httpx.Response] | None = None
        self.size: int | None = None
        self.ranged = False
        self.where = ""
        end = None if first is None else start + first
        response = self._tried(start, end)
        if end is not None and self.size is not None:
            end = min(end, self.size)
        self._waiting = (start, end, response)

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give the bytes from `start` to before `end`; a server without ranges sends all before them, too."""
        if self.size is not None:
            end = self.size if end is None else min(end, self.size)
        faults = 0
        while end is None or start < end:
            began, fault = start, None
            try:
                with contextlib.closing(self._taken(start, end)) as response:
                    for piece in self._body(response, start, end):
                        start += len(piece)
                        yield piece
            except _Broken as error:
                fault = error
            if end is None and fault is None:  # the server did not say how long it is
                return
            if start - began >= self._limits.least:  # a server may answer with less than was asked for
                faults = 0
            elif fault is None and end is not None and start < end:
                fault = _Broken("it sends less than it says")
            if fault is not None:
                faults = self._again(faults, fault)

    def close(self) -> None:
        """Let the answer go that nobody has read; the client is its maker's."""
        if self._waiting is not None:
            self._waiting[2].close()
            self._waiting = None

    def _again(self, faults: int, error: _Broken) -> int:
        """Count a fault, and wait; SourceError when that was the last try."""
        if faults + 1 >= self._limits.tries:
            raise SourceError(f"{self._host()}: {error}", lasting=False) from error
        rest(self._stop, self._limits.pause * 2**faults)
        return faults + 1

    def _taken(self, start: int, end: int | None) -> httpx.Response:
        """Take the answer that waits, when it is the one to this question, or ask."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting[0] == start and (not self.ranged or waiting[1] in {None, end}):
                return waiting[2]
            waiting[2].close()
        return self._asked(start, end)

    def _tried(self, start: int, end: int | None) -> httpx.Response:
        faults = 0
        while True:
            try:
                return self._asked(start, end)
            except _Broken as error:
                faults = self._again(faults, error)

    def _asked(self, start: int, end: int | None) -> httpx.Response:
        """Ask for a range, following redirects; every place on the way is checked."""
        url = self._url()
        for _ in range(self._limits.redirects + 1):
            response = self._sent(self._checked(url), start, end)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                self.where = url
                return self._accepted(response, start)
            response.close()
            url = resolved(url, response.headers["location"])
        raise SourceError(f"{self._host()}: more than {self._limits.redirects} redirects")

    def _checked(self, url: str) -> str:
        try:
            checked = check_url(url, schemes=SCHEMES, allowed=self._allowed, credentials=True).url
        except UrlRefused as error:
            raise SourceError(f"its URL is refused: {error}") from error
        except Rejected as error:
            raise SourceError(str(error)) from error
        self.where = checked
        return checked

    def _sent(self, url: str, start: int, end: int | None) -> httpx.Response:
        headers = {"Accept-Encoding": "identity", "User-Agent": "reelay"}
        if start or end is not None or self._version is None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
            if self._version is not None and self._version.tag.startswith('"'):
                headers["If-Range"] = self._version.tag
        try:
            return self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        except httpx.TimeoutException as error:
            raise _Broken(f"it did not answer within {self._limits.patience.total_seconds():g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _Broken("the connection failed") from error
        except DestinationFailed as error:
            raise _Broken("its name was not found") from error
        except Unavailable as error:
            raise _Broken(str(error)) from error
        except Rejected as error:
            raise SourceError(str(error)) from error

    def _accepted(self, response: httpx.Response, start: int) -> httpx.Response:
        """Check an answer against what is known of the file; learn that from the first one."""
        with contextlib.ExitStack() as stack:
            stack.callback(response.close)
            version, ranged = self._read_head(response, start)
            if self._version is None:
                self._version, self.size, self.ranged = version, version.size, ranged
            elif not self._version.agrees(version) or ranged != self.ranged:
                raise SourceError(f"{self._host()}: the file has changed while it was read", lasting=False)
            stack.pop_all()
        return response

    def _read_head(self, response: httpx.Response, start: int) -> tuple[_Version, bool]:
        status, headers = response.status_code, response.headers
        tag, changed = headers.get("etag", ""), headers.get("last-modified", "")
        if status in _AGAIN:
            raise _Broken(f"it answered {status}")
        if headers.get("content-encoding", "identity") != "identity" and status in {200, 206}:
            raise SourceError(f"{self._host()}: it sends the file compressed")
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
            if found is None or int(found[1]) != start or int(found[2]) >= int(found[3]):
                raise SourceError(f"{self._host()}: it answers with another range than was asked for")
            return _Version(int(found[3]), tag, changed), True
        if status == 200:
            length = headers.get("content-length", "")
            return _Version(int(length) if length.isdecimal() else None, tag, changed), False
        if status == 416:
            raise SourceError(f"{self._host()}: the file is empty or has become shorter", lasting=False)
        reason = _REASONS.get(status, "it cannot be had")
        raise SourceError(f"{self._host()}: {reason} ({status})")

    def _body(self, response: httpx.Response, start: int, end: int | None) -> Iterator[bytes]:
        """Give what is wanted of an answer's body."""
        skip = 0 if response.status_code == 206 else start
        left = None if end is None else end - start
        exact = response.headers.get("content-length") == str(left)
        try:
            for piece in response.iter_raw():
                wanted = piece[skip:]
                skip = max(skip - len(piece), 0)
                wanted = wanted if left is None else wanted[:left]
                if wanted:
                    left = None if left is None else left - len(wanted)
                    yield wanted
                if left == 0 and not exact:  # a body that is read to its end leaves the connection for the next
                    return
        except httpx.TimeoutException as error:
            raise _Broken(f"next to nothing came for {self._limits.patience.total_seconds():g} s") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _Broken("the connection broke") from error

    def _host(self) -> str:
        return (urlsplit(self.where).hostname or "the server")[:LONGEST_NAME]
