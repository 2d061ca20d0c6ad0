"""The forms in which people and encoders write a stream key or an SRT id (tables in docs/ingest.md).

Reelay's keys and ids are 32 hexadecimal digits, so that one is found wherever it was written. At most one is looked up
per connection: two different ones are refused, or an attacker could make several guesses with one connection.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote

from services.ingester.broadcasts import PREFIX, Broadcast, srt_broadcast
from services.ingester.refusals import PublishRefused

ROUNDS: Final = 2
"""How often percent-encoding is decoded: a URL may be escaped twice, no more."""
LONGEST: Final = 256
LONGEST_TEXT: Final = 4096
"""The length to which a normalized text is cut: one letter can become eighteen."""
DIGITS: Final = 32
_SHAPE: Final = re.compile(r"(?<![0-9A-Za-z_-])[0-9A-Fa-f]{32}(?![0-9A-Za-z_-])")
_SEGMENT: Final = re.compile(r"[/\\?&#;,\s]")
_KEY_NAMES: Final = frozenset({"key", "streamkey", "streamname", "stream", "name", "k", "id", "streamid"})
_PREFIX: Final = re.compile(r"^[A-Za-z0-9]{2,5}:(?!//)")
_SUFFIX: Final = re.compile(r"\.(?:flv|f4v|mp4|m4v|mov|sdp|stream|m3u8|ts)$", re.IGNORECASE)
# The scheme's length is bounded: a search tries it from every letter, and a hostile text may be all letters.
_HOST: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://(?:([^/?#\s]*)@)?[^/?#\s]*")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{16,64}")
_QUOTES: Final = "\"'`<>“”„‘’«»"
_MODES: Final[dict[str, str]] = {
    "publish": "publish", "push": "publish", "write": "publish", "input": "publish", "request": "request",
    "read": "request", "play": "request", "pull": "request", "subscribe": "request", "bidirectional": "bidirectional",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """An SRT caller's request: `mode`, and the id of the job (empty when it names none), or an entry."""

    event: str = field(repr=False)
    mode: str
    broadcast: Broadcast | None = None


def plain(text: str) -> str:
    """Return the text without surrounding blanks and quotes, invisible characters and percent-encoding."""
    for _ in range(ROUNDS):
        if "%" not in text:
            break
        text = unquote(text)
    text = unicodedata.normalize("NFKC", text)[:LONGEST_TEXT]
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return visible.strip().strip(_QUOTES).strip()


def stream_key(app: str, name: str, tc_url: str = "", announced: Iterable[str] = ()) -> str:
    """Return the stream key in connect's app and tcUrl, publish's name, or the names announced before.

    Raises PublishRefused when there is none, or when there are two different ones.
    """
    said = [plain(text) for text in (name, app, tc_url)]
    strong = [key for text in said for key, named in _shaped(text) if named != "other"]
    weak = [key for text in said for key, named in _shaped(text) if named == "other"]
    earlier = [key for text in announced for key, _ in _shaped(plain(text))]
    for found in (strong, weak, earlier):
        if len(set(found)) > 1:
            raise PublishRefused("two different stream keys were sent, send one", "ambiguous")
        if found:
            return found[0]
    return _unshaped(said[0], said[1])


def unknown(key: str) -> PublishRefused:
    """Return the refusal of a key that no job has; it says what may be wrong with the key, but shows none of it."""
    if len(key) != DIGITS and _HEX.fullmatch(key):
        return PublishRefused(f"no job has this stream key: it has {len(key)} digits, a whole one has {DIGITS}")
    return PublishRefused("no job has this stream key")


def looks_secret(text: str) -> bool:
    """Return whether a text may contain a key, or a part of one, and must not be logged."""
    return bool(_HEX.search(plain(text))) or len(text) > 64 or "%" in text


def _shaped(text: str) -> list[tuple[str, Literal["path", "key", "other"]]]:
    """Return what has a key's shape, and whether it is in a path, in a "key" argument, or in an "other" argument."""
    found: list[tuple[str, Literal["path", "key", "other"]]] = []
    text = _HOST.sub(r"/?login=\1/", text)  # host names can have such labels too
    starts = [0, *(end.end() for end in _SEGMENT.finditer(text))]
    for match in _SHAPE.finditer(text):
        begin = starts[bisect_right(starts, match.start()) - 1]
        name, equals, _ = text[begin : match.start()].rpartition("=")
        own = re.sub(r"[^a-z]", "", name.lower()) in _KEY_NAMES
        found.append((match.group().lower(), "path" if not equals else "key" if own else "other"))
    return found


def _unshaped(name: str, app: str) -> str:
    """Return the one value that may be a key of another shape; it is looked up as written."""
    key = _last(name) or _argument(name) or _argument(app) or (_last(app) if "/" in app.strip("/") else "")
    if not key:
        raise PublishRefused("no stream key was sent, write it into the encoder's field for it", "no_key")
    if len(key) > LONGEST:
        raise PublishRefused("no job has this stream key: it is too long", "unknown")
    return key


def _last(text: str) -> str:
    path = re.split(r"[?&#]", text, maxsplit=1)[0]
    segment = re.split(r"[/\\]", path.rstrip("/\\"))[-1].strip()
    return _SUFFIX.sub("", _PREFIX.sub("", segment))


def _argument(text: str) -> str:
    for part in re.split(r"[?&#;]", text)[1:]:
        name, _, value = part.partition("=")
        if re.sub(r"[^a-z]", "", name.lower()) in _KEY_NAMES and value:
            return _last(value)
    return ""


def wish(text: str) -> Wish:
    """Parse an SRT stream id after `plain`.

    Raises PublishRefused when it names two jobs, ValueError when its `#!::` syntax is invalid.
    """
    if text.startswith("#!"):
        return _by_access_control(text)
    if text.startswith(PREFIX):
        return Wish("", "publish", srt_broadcast(text))
    if (at := text.lower().find("streamid=")) >= 0:  # a whole srt:// URL in the field for the id
        return wish(plain(re.split(r"[&;\s]", text[at + 9 :], maxsplit=1)[0]))
    head, colon, rest = text.partition(":")
    mode = _MODES.get(head.strip().lower(), "") if colon and not rest.startswith("//") else ""
    path, *arguments = re.split(r"[?&;,]", rest if mode else text, maxsplit=1)
    asked = re.search(r"(?:^|[&;,])(?:mode|m)=([a-z]+)", "".join(arguments).lower())
    mode = mode or (_MODES.get(asked[1], asked[1]) if asked else "publish")
    # A colon after the path starts a user name and password.
    end = path.find(":", path.rfind("/") + 1) if "://" not in path else -1
    return Wish(_one(path[:end] if end >= 0 else path) or _one(text), mode)


def _by_access_control(text: str) -> Wish:
    if not text.startswith("#!::"):
        raise ValueError("only the form #!::key=value,... is understood")
    keys: dict[str, str] = {}
    for part in text[4:].split(","):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals or not name or name in keys or len(keys) == 32:
            raise ValueError("a part of the stream id is not key=value, or comes twice")
        keys[name] = plain(value)
    mode = keys.get("m", "").lower()
    inner = wish(keys["r"]) if keys.get("r") and not keys["r"].startswith("#!") else Wish("", "publish")
    event = inner.event or _one(keys.get("u", "")) or _one(keys.get("h", "")) or _one(keys.get("s", ""))
    return Wish(event, _MODES.get(mode, mode) if mode else inner.mode)


def _one(text: str) -> str:
    found = {key for key, _ in _shaped(text)}
    if len(found) > 1:
        raise PublishRefused("two different ids were sent, send one", "ambiguous")
    return found.pop() if found else ""
