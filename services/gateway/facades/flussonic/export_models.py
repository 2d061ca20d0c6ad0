"""What clients say of exports, in the new API (ms) and in the old one (s)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.errors import invalid, no_such
from services.gateway.facades.flussonic.models import Millis, Seconds

_UUID: Final = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_OLD: Final = 10**11  # times in s are below, times in ms above
_PARSED: Final = {ord(sign): f"%{ord(sign):02X}" for sign in "%?#"}
TRACKS: Final = "v1a1"
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def _flag(value: Any) -> Any:
    """Read a flag as clients of all ages write it: their own example has "true" as a text."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_flag)]


class TrackFilter(BaseModel):
    """Which tracks: the best picture and its sound, or an error."""

    model_config = ConfigDict(extra="forbid")

    tracks: str | None = Field(None, max_length=200)


class ExportAsk(BaseModel):
    """An export: `from` and `duration` in ms. What only answers have is read past."""

    id: str | None = None
    name: str = Field(min_length=1, max_length=256)
    start: Millis = Field(alias="from")
    duration: Millis = Field(gt=0)
    path: str = Field(min_length=1, max_length=1024)
    packing: Literal["compat", "fragmented"] | None = None
    filter: TrackFilter | None = None
    timelapse: Flag | None = None

    def checked(self) -> ExportAsk:
        """Return the same; Invalid for what cannot be done."""
        if self.start < _OLD:
            raise invalid("/from", "must be milliseconds since the epoch")
        if self.filter and self.filter.tracks not in {None, TRACKS}:
            raise invalid("/filter/tracks", f"must be {TRACKS}: the best picture and its sound")
        if self.timelapse:
            raise invalid("/timelapse", "is not made here")
        return self

    def kept(self) -> dict[str, Any]:
        """Return what is kept of it."""
        made: dict[str, Any] = {
            "name": self.name, "from": self.start, "duration": self.duration, "path": self.path,
        }  # fmt: skip
        if self.filter and self.filter.tracks:
            made["filter"] = {"tracks": self.filter.tracks}
        return made


class OldExportAsk(BaseModel):
    """The query of the old call: `from` and `duration` in s."""

    start: Seconds = Field(alias="from")
    duration: Seconds = Field(gt=0)
    path: str
    packing: Literal["compat", "fragmented"] | None = None
    timelapse: Flag | None = None
    meta: Flag | None = None

    def in_ms(self, name: str) -> dict[str, Any]:
        """Return it as a body of the new call; Invalid."""
        if self.start >= _OLD:
            raise invalid("/from", "must be seconds since the epoch")
        if self.meta:
            raise invalid("/meta", "is not written here")
        return {
            "name": name, "from": self.start * 1000, "duration": self.duration * 1000, "path": self.path,
            "packing": self.packing, "timelapse": self.timelapse,
        }  # fmt: skip


def new_id(text: str) -> str:
    """Return the clip's id of a new export's UUID; Invalid."""
    found = text.lower()
    if not _UUID.fullmatch(found):
        raise invalid("id", "must be a UUID")
    return found.replace("-", "")


def known_id(text: str) -> str:
    """Return the clip's id of an export's UUID; NotFound for what is none."""
    if not _UUID.fullmatch(text.lower()):
        raise no_such("export")
    return text.lower().replace("-", "")


def destinations_of(path: str, *, folders: bool) -> tuple[NewDestination, ...]:
    """Return where a path is: a bucket; the account's folder or, without folders, the library. Invalid."""
    scheme, separator, rest = path.partition("://")
    if separator and scheme.lower() not in {"s3", "file"}:
        raise invalid("/path", "is a local path or s3://bucket/key; POST /v1/vods sends to other destinations")
    if separator and scheme.lower() == "s3":
        return (NewDestination(url=path),)
    if not folders:
        return ()
    local = rest if separator else path.translate(_PARSED)
    return (NewDestination(url=f"file:///{local.lstrip('/')}"),)


def stem(path: str) -> str:
    """Return the file's name without .mp4, as the clip's label."""
    return path.rstrip("/").rpartition("/")[2].removesuffix(".mp4")
