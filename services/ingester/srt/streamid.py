"""Stream ids: the access control syntax of SRT, or a plain name.

Source: docs/features/access-control.md of libsrt: `#!::key=value,key=value`, keys r (resource), m (mode: request,
publish, bidirectional), u (user), s (session), h (host), t (type), and application-defined keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from shared.srt.constants import STREAMID_MAX

PREFIX: Final = "#!::"
_MOST_KEYS: Final = 32


@dataclass(frozen=True, slots=True)
class StreamId:
    """A stream id as received, and its keys (empty for a plain name); the repr shows neither."""

    raw: str = field(repr=False)
    keys: Mapping[str, str] = field(repr=False)

    @property
    def resource(self) -> str:
        """The requested resource: the key r, or the whole plain name."""
        return self.keys.get("r", "") if self.keys else self.raw

    @property
    def mode(self) -> str:
        """The requested mode: the key m, by default `publish`.

        The guidelines' default is `request`; but many encoders omit m, and this server sends no media.
        """
        return self.keys.get("m", "publish")

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that identify the id in a log without revealing it."""
        return hashlib.sha256(self.raw.encode()).hexdigest()[:8]


def parse(raw: str) -> StreamId:
    """Parse a stream id; ValueError when it is too long, has control characters, or has invalid syntax."""
    if len(raw.encode()) > STREAMID_MAX:
        raise ValueError(f"a stream id has at most {STREAMID_MAX} bytes")
    if not raw.isprintable():
        raise ValueError("a stream id has no control characters")
    if not raw.startswith("#!"):
        return StreamId(raw, MappingProxyType({}))
    if not raw.startswith(PREFIX):
        raise ValueError("only the form #!::key=value,... is understood")
    keys: dict[str, str] = {}
    for part in raw[len(PREFIX) :].split(","):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise ValueError("a part of the stream id is not key=value")
        if key in keys or len(keys) == _MOST_KEYS:
            raise ValueError("a key of the stream id comes twice, or there are too many")
        keys[key] = value
    return StreamId(raw, MappingProxyType(keys))


def build(**keys: str) -> str:
    """Return a stream id made of its keys; ValueError when a value contains a comma or the whole is too long."""
    if any("," in value for value in keys.values()):
        raise ValueError("a value of a stream id holds no comma")
    raw = PREFIX + ",".join(f"{key}={value}" for key, value in keys.items())
    return parse(raw).raw
