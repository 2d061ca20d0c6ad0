"""A file behind HTTP(S): read by ranges if the server has them, and resumed at the byte where a transfer broke."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits
from services.restreamer.sources.origins.answers import Head, Refused, Version, better_without_range, body_of, read_head
from services.restreamer.sources.origins.trouble import Broken, Trouble
from shared.errors import DestinationFailed, Rejected, Unavailable
from shared.security.netguard import Networks, UrlRefused, check_url

SCHEMES: Final = ("http", "https")
LONGEST_NAME: Final = 253
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def resolved(base: str, reference: str) -> str:
    """Return a reference as a URL; on the same server, keep the user and password of `base`. Raise SourceError."""
    try:
        joined = urljoin(base, reference)
        mine, theirs = urlsplit(base), urlsplit(joined)
        same = (mine.scheme, mine.hostname, mine.port) == (theirs.scheme, theirs.hostname, theirs.port)
    except ValueError:  # its text holds parts of the URL
        raise SourceError("it refers to something that is no URL") from None
    user, at, _ = mine.netloc.rpartition("@")
    return (
        theirs._replace(netloc=f"{user}@{theirs.netloc}").geturl()
        if at and same and "@" not in theirs.netloc
        else joined
    )


class HttpOrigin:
    """A file by its URL. `url` is called for each request, because signed URLs expire. `where` is the last URL used.

    The first answer, to a request for `first` bytes, is kept until it is read: a small file takes one request.
    `trouble` makes a counter of faults.
    """

    def __init__(
        self,
        url: Callable[[], str],
        client: httpx.Client,
        allowed: Networks,
        limits: Limits,
        trouble: Callable[[], Trouble],
        *,
        start: int = 0,
        first: int | None = None,
    ) -> None:
        self._url = url
        self._client = client
        self._allowed = tuple(allowed)
        self._limits = limits
        self._trouble = trouble
        self._version: Version | None = None
        self._whole = False  # no ranges are requested
        self._worked = ""  # the URL that answered last, after redirects
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
        """Yield the bytes from `start` to before `end` as they come, in one answer while the connection lasts.

        A server without ranges sends the bytes before them, too, which are skipped; a piece may be empty.
        """
        if self.size is not None:
            end = self.size if end is None else min(end, self.size)
        trouble = self._trouble()
        while end is None or start < end:
            began, fault = start, None
            trouble.waits()
            try:
                with contextlib.closing(self._taken(start, end)) as response:
                    for piece in _bytes_of(response, start, end, self._limits):
                        start += len(piece)
                        trouble.got(len(piece), self.where)
                        yield piece
                        trouble.waits()
            except Broken as error:
                fault = error
            if end is None and fault is None:  # the server did not send the length
                break
            if fault is None and end is not None and start < end and start - began < self._limits.least:
                fault = Broken("it sends less than it says")
            if fault is not None:
                trouble.failed(fault, self.where, self._host())
        trouble.over(self.where)

    def close(self) -> None:
        """Close the unread first answer, if any; the client stays open."""
        if self._waiting is not None:
            self._waiting[2].close()
            self._waiting = None

    def _taken(self, start: int, end: int | None) -> httpx.Response:
        """Return the kept first answer if it fits this request; send a new request otherwise."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting[0] == start and (not self.ranged or waiting[1] in {None, end}):
                return waiting[2]
            waiting[2].close()
        return self._asked(start, end)

    def _tried(self, start: int, end: int | None) -> httpx.Response:
        trouble = self._trouble()
        while True:
            try:
                response = self._asked(start, end)
            except Broken as error:
                trouble.failed(error, self.where, self._host())
            else:
                trouble.over(self.where)
                return response

    def _asked(self, start: int, end: int | None) -> httpx.Response:
        """Request a range. When it is refused after earlier success, retry the last working URL, then raise Broken."""
        url = self._url()
        try:
            return self._found(url, start, end)
        except Refused as error:
            if self._version is None:
                raise Refused(f"{self._host()}: {error}", error.status) from error
            if self._worked in {"", url}:
                raise Broken(str(error), brief=True) from error
        try:
            return self._found(self._worked, start, end)
        except Refused as error:
            raise Broken(str(error), brief=True) from error

    def _found(self, url: str, start: int, end: int | None) -> httpx.Response:
        """Request a URL, following redirects; every URL on the way is checked."""
        for _ in range(self._limits.redirects + 1):
            response = self._sent(self._checked(url), start, end)
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                break
            response.close()
            url = resolved(url, response.headers["location"])
        else:
            raise Refused(f"more than {self._limits.redirects} redirects", response.status_code)
        if self._version is None and not (self._whole or start) and better_without_range(response):
            response.close()
            self._whole = True
            return self._found(url, start, end)
        response = self._accepted(response, start)
        self._worked = url
        return response

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
        if not self._whole and (start or end is not None or self._version is None):
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
            if self._version is not None and self._version.tag.startswith('"'):
                headers["If-Range"] = self._version.tag
        try:
            return self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        except httpx.TimeoutException as error:
            raise Broken(f"it did not answer within {self._limits.patience.total_seconds():g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Broken("the connection failed") from error
        except DestinationFailed as error:
            raise Broken("its name was not found") from error
        except Unavailable as error:
            raise Broken(str(error)) from error
        except Rejected as error:
            raise SourceError(str(error)) from error

    def _accepted(self, response: httpx.Response, start: int) -> httpx.Response:
        """Check an answer against what the first answer said about the file."""
        with contextlib.ExitStack() as stack:
            stack.callback(response.close)
            try:
                head = read_head(response, start)
            except Refused:
                raise
            except SourceError as error:
                raise SourceError(f"{self._host()}: {error}", lasting=error.lasting) from error
            self._learn(head, start)
            stack.pop_all()
        return response

    def _learn(self, head: Head, start: int) -> None:
        if self._version is None:
            self._version, self.size, self.ranged = head.version, head.version.size, head.ranged
        elif not self._version.agrees(head.version):
            raise SourceError(f"{self._host()}: the file has changed while it was read", lasting=False)
        elif self.ranged and not head.ranged and (head.version.size != self.size or start > self._limits.skip):
            raise SourceError(f"{self._host()}: the server gives no ranges of the file any more", lasting=False)

    def _host(self) -> str:
        return (urlsplit(self.where).hostname or "the server")[:LONGEST_NAME]


def _bytes_of(response: httpx.Response, start: int, end: int | None, limits: Limits) -> Iterator[bytes]:
    """Yield a body's bytes from `start` to before `end`; raise Broken when it breaks, or almost no data comes."""
    try:
        yield from body_of(response, start, end)
    except httpx.TimeoutException as error:
        raise Broken(f"next to nothing came for {limits.patience.total_seconds():g} s") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise Broken("the connection broke") from error
