"""What a video and its ingestion into Video Cloud may be, checked before anything starts.

Fields and limits are those of Brightcove's CMS and Dynamic Ingest APIs, as the page "Creating VOD Clips" lists them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

LONGEST_CUSTOM: Final = 1024
LONGEST_URL: Final = 2048
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f]")
_REFERENCE: Final = re.compile(r"[^\s,\x00-\x1f\x7f]{1,150}")


def _web(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if _UNFIT.search(url) or not host or parts.scheme not in {"http", "https"}:
        raise ValueError("must be an http(s) URL")
    return url


def _iso(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date and time of ISO 8601") from None
    return text


WebUrl = Annotated[str, Field(min_length=1, max_length=LONGEST_URL), AfterValidator(_web)]
IsoDate = Annotated[str, Field(max_length=40), AfterValidator(_iso)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CuePoint(_Part):
    """A cue point of a video."""

    id: str | None = Field(None, max_length=256)
    force_stop: bool | None = None
    metadata: str | None = Field(None, max_length=4096)
    name: str | None = Field(None, max_length=256)
    time: float = Field(ge=0, le=10**9, allow_inf_nan=False, description="s from the video's start")
    type: Literal["AD", "DATA", "CODE"] = Field(description="AD, DATA or CODE")


class Geo(_Part):
    """Where a video may be watched."""

    countries: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,4}$")]] | None = Field(None, max_length=300)
    exclude_countries: bool | None = None
    restricted: bool | None = None


class Link(_Part):
    """A related link."""

    url: WebUrl | None = None
    text: str | None = Field(None, max_length=255)


class Schedule(_Part):
    """When a video may be watched."""

    starts_at: IsoDate | None = None
    ends_at: IsoDate | None = None


class VideoTextTrack(_Part):
    """A text track of a video that is there already."""

    id: str | None = Field(None, max_length=64)
    account_id: str | None = Field(None, max_length=64)
    src: WebUrl | None = None
    srclang: str | None = Field(None, max_length=16)
    label: str | None = Field(None, max_length=256)
    kind: Literal["captions", "subtitles", "chapters", "metadata", "descriptions"] | None = None
    mime_type: str | None = Field(None, max_length=64)
    asset_id: str | None = Field(None, max_length=64)
    sources: list[dict[str, JsonValue]] | None = Field(None, max_length=16)
    default: bool | None = None


class Video(_Part):
    """The fields of a new video."""

    name: str = Field(min_length=1, max_length=248)
    description: str | None = Field(None, max_length=248)
    long_description: str | None = Field(None, max_length=5000)
    reference_id: str | None = None
    state: Literal["ACTIVE", "INACTIVE"] | None = None
    economics: Literal["AD_SUPPORTED", "FREE"] | None = None
    tags: list[Word] | None = Field(None, max_length=1200)
    custom_fields: dict[Word, Annotated[str, StringConstraints(max_length=LONGEST_CUSTOM)]] | None = Field(
        None, max_length=200
    )
    ad_keys: str | None = Field(None, max_length=4096)
    cue_points: list[CuePoint] | None = Field(None, max_length=500)
    geo: Geo | None = None
    link: Link | None = None
    offline_enabled: bool | None = None
    projection: Literal["equirectangular"] | None = None
    schedule: Schedule | None = None
    text_tracks: list[VideoTextTrack] | None = Field(None, max_length=50)
    clip_source_video_id: str | None = Field(None, max_length=64)
    drm_disabled: bool | None = None
    labels: list[Word] | None = Field(None, max_length=100)
    playback_rights_id: str | None = Field(None, max_length=64)
    published_at: IsoDate | None = None

    @field_validator("reference_id")
    @classmethod
    def _no_blanks(cls, value: str | None) -> str | None:
        if value is not None and not _REFERENCE.fullmatch(value):
            raise ValueError("must have 1 to 150 characters, no spaces and no commas")
        return value


class Image(_Part):
    """A picture to ingest."""

    url: WebUrl
    height: int | None = Field(None, ge=1, le=16_384)
    width: int | None = Field(None, ge=1, le=16_384)


class IngestTextTrack(_Part):
    """A WebVTT file to ingest."""

    url: WebUrl
    srclang: str = Field(min_length=2, max_length=16)
    kind: Literal["captions", "subtitles", "chapters", "metadata"] | None = None
    label: str | None = Field(None, max_length=256)
    default: bool | None = None


class AudioMaster(_Part):
    """A sound file to ingest."""

    url: WebUrl
    language: str | None = Field(None, max_length=32)
    variant: Literal["main", "alternate", "commentary", "dub", "descriptive"] | None = None


class AudioTracks(_Part):
    """Further sound tracks."""

    merge_with_existing: Literal[False] | None = Field(None, description="Only false is supported by Video Cloud")
    masters: list[AudioMaster] | None = Field(None, max_length=50)


class Ingest(_Part):
    """How the clip is ingested; the master is given by us."""

    profile: str | None = Field(None, min_length=1, max_length=256)
    capture_images: bool | None = Field(None, alias="capture-images")
    poster: Image | None = None
    thumbnail: Image | None = None
    text_tracks: list[IngestTextTrack] | None = Field(None, max_length=50)
    audio_tracks: AudioTracks | None = None
    callbacks: list[WebUrl] | None = Field(None, max_length=20)
    priority: Literal["low", "normal"] | None = None
    master: None = Field(None, description="Refused: the clip is the master")

    @field_validator("audio_tracks", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        """Take a list of one, too: the page's table says Object[], its platform takes the object."""
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    @field_validator("master", mode="before")
    @classmethod
    def _ours(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("must not be given: the clip is the master")
        return value


class VideoCloud(_Part):
    """A video to make in Video Cloud, and how the clip is ingested into it."""

    account_id: str | None = Field(None, pattern=r"^[0-9]{1,32}$", description="Default: that of the credentials")
    video: Video
    ingest: Ingest = Field(default_factory=lambda: Ingest.model_validate({}))

    def options(self) -> dict[str, Any]:
        """Return what was given, in the platform's own words."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
