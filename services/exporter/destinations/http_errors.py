"""What web servers' answers mean for a delivery: whether another try can succeed, and how a user is told."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

import h11
import httpcore
import httpx

from services.exporter.destinations.hidden import hidden
from services.exporter.destinations.http_body import Reply
from shared.errors import DestinationFailed, Rejected

_FINAL: Final = {
    400: "the server does not understand the request",
    401: "the user or the password is not accepted",
    403: "access is forbidden",
    404: "there is nothing of this name there, or it may not be written to",
    405: "the server does not allow this here",
    409: "the folder above it does not exist",
    410: "it is gone for good",
    411: "the server wants another kind of upload",
    413: "the file is larger than the server takes",
    414: "the URL is longer than the server takes",
    415: "the server does not take files of this type",
    501: "the server does not support this",
}
_TRANSIENT: Final = {
    408: "the server did not get the bytes in time",
    423: "the file is locked there",
    425: "the server asks to come later",
    429: "the server asks to come less often",
    500: "the server failed",
    502: "the server behind it failed",
    503: "the server is overloaded or under repair",
    504: "the server behind it did not answer in time",
    507: "no room is left there",
}
# Backtracking is quadratic in the text's length, and holds up everything: only a page's beginning is looked at.
_TAGS: Final = re.compile(r"<(script|style)\b.*?</\1>|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_LOOKED_AT: Final = 2048
_LONGEST: Final = 200


def refused(where: str, doing: str, reply: Reply, *, secrets: tuple[str, ...] = ()) -> DestinationFailed:
    """Return the fault for an answer; `doing` is the method that was answered."""
    status = reply.status
    if 300 <= status < 400:
        to = reply.fields.get("location", "elsewhere").partition("?")[0]
        to = hidden(to, secrets)[:_LONGEST]
        text, final = f"the server redirects to {to}: name that URL if it is right", True
    else:
        text = _FINAL.get(status) or _TRANSIENT.get(status) or "the server refused"
        final = status in _FINAL or (400 <= status < 500 and status not in _TRANSIENT)
    asked = hidden(reply.fields.get("www-authenticate", "basic"), secrets).lower()
    if status == 401 and "basic" not in asked:
        kind = asked.partition(" ")[0][:_LONGEST]
        text = f"the server wants another kind of login than user and password ({kind})"
    after = reply.fields.get("retry-after", "")
    said = hidden(_words(reply.body, secrets), secrets)
    more = f", which says: {said}" if said else ""
    later = f"; it asks to come again in {after} s" if after.isdecimal() and len(after) < 8 else ""
    return DestinationFailed(f"{where}: {text} (HTTP {status} to {doing}{more}){later}", final=final)


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise what goes wrong on the way to a server as DestinationFailed."""
    try:
        yield
    except Rejected as error:  # netguard
        raise DestinationFailed(f"{where}: {error}", final=True) from None
    except (httpcore.ConnectError, httpx.ConnectError) as error:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text.upper():
            raise DestinationFailed(
                f"{where}: the TLS certificate is not trusted: {text[:_LONGEST]}", final=True
            ) from None
        raise DestinationFailed(f"{where}: no connection: {text[:_LONGEST] or 'nothing answers'}") from None
    except (httpcore.ConnectTimeout, httpx.ConnectTimeout):
        raise DestinationFailed(f"{where}: nothing answers there") from None
    except (httpcore.TimeoutException, httpx.TimeoutException, TimeoutError):
        raise DestinationFailed(f"{where}: the server does not answer in time") from None
    except (h11.RemoteProtocolError, httpcore.ProtocolError, httpx.ProtocolError):
        raise DestinationFailed(f"{where}: the connection was closed, or this is no HTTP server") from None
    except (httpcore.NetworkError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise DestinationFailed(f"{where}: the connection was closed ({type(error).__name__})") from None


def _words(body: bytes, secrets: tuple[str, ...]) -> str:
    text = hidden(body.decode("utf-8", "replace"), secrets)[:_LOOKED_AT]  # not the other way: half a secret is one
    text = " ".join(_TAGS.sub(" ", text).split())
    return "".join(char for char in text if char.isprintable())[:_LONGEST]
