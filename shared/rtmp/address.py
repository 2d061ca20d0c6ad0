"""RTMP URLs of servers that we publish to: application, stream name, user and password.

No standard defines where the application ends. These rules cover what encoders and platforms write:

- the stream's name is the last segment of the path, with the query after it: `/app/instance/name?token=1`;
- when the path has one segment, or ends in a slash, a query with a slash in it belongs to the application, and the
  name follows that slash: `/live2?backup=1/name` (YouTube), `/kLive/?p=1&t=2/name` (Kaltura);
- trailing and doubled slashes are ignored;
- percent-encoding is sent as written, except for blanks at the name's ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

FORM: Final = "an RTMP target is rtmp://host/application/stream"
_BLANKS: Final = re.compile(r"^(?:%20|%09|%0[ad]|\+)+|(?:%20|%09|%0[ad]|\+)+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RtmpUrl:
    """The parts of an RTMP URL; `app` and `name` include their queries, user and password are decoded."""

    scheme: str
    authority: str
    """Host and port, as written."""
    app: str = field(repr=False)
    name: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    login: str = field(default="", repr=False)
    """User and password, as written."""

    @property
    def url(self) -> str:
        """The URL in its normalized form."""
        login = f"{self.login}@" if self.login else ""
        return f"{self.scheme}://{login}{self.authority}/{self.app}/{self.name}"

    @property
    def shown(self) -> str:
        """The URL for display: only the path's first segment is shown, since the rest may be a stream key."""
        login = "***@" if self.login else ""
        app = self.app.partition("?")[0].lstrip("/").partition("/")[0]
        return f"{self.scheme}://{login}{self.authority}/{app}/***"


def split_rtmp(url: str) -> RtmpUrl:
    """Split a URL that netguard has checked; ValueError with a text that repeats nothing of it."""
    parts = urlsplit(url)
    login, at, authority = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if at and not (user and password):
        raise ValueError("a user of an RTMP target comes with a password: rtmp://user:password@host/application/stream")
    steps = [step for step in parts.path.split("/") if step]
    head, slash, name = _behind_query(parts.query)
    if slash and steps and (len(steps) == 1 or parts.path.endswith("/")):
        app = "/".join(steps) + ("/?" if parts.path.endswith("/") else "?") + head
    else:
        if len(steps) < 2:
            raise ValueError(FORM)
        app, name = "/".join(steps[:-1]), _BLANKS.sub("", steps[-1]) + (f"?{parts.query}" if parts.query else "")
    if not name.partition("?")[0]:
        raise ValueError(FORM)
    return RtmpUrl(parts.scheme, authority, app, name, unquote(user), unquote(password), login)


def _behind_query(query: str) -> tuple[str, str, str]:
    """Split a query of the application from the stream's name after it, which may have a query of its own."""
    first, mark, rest = query.rstrip("/").partition("?")
    head, slash, name = first.rpartition("/")
    return head, slash, f"{_BLANKS.sub('', name)}{mark}{rest}"
