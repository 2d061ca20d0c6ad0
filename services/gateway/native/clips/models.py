"""Bodies of requests and answers about clips; names are Brightcove's."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.gateway.domain.destinations.options import BucketOptions
from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.http.receivers import NotificationAsk
from services.gateway.http.selectors import Selectors
from services.gateway.native.clips.edit_models import CaptionsAsk, CropAsk, OverlayAsk
from services.gateway.native.clips.encryption_models import EncryptionAsk, EncryptionView
from services.gateway.native.clips.image_models import ImagesAsk, ImageView
from shared.messages.base import Accuracy
from shared.messages.clips import MOST_RANGES, VodState
from shared.messages.destinations import DestinationType

_URL_HELP: Final = (
    "s3://bucket/key, ftp://, ftps://, sftp://, http(s):// (PUT), webdav(s):// or file:///; a path that is empty or "
    "ends with a slash gets the clip's file name; without a destination the clip goes to the library"
)
_CREDENTIALS_HELP: Final = "Label or id of stored credentials; absent: the default ones of the destination's type"


class DestinationAsk(BucketOptions):
    """One of several destinations: url, videocloud or library."""

    url: str | None = Field(None, min_length=1, max_length=2048, description=_URL_HELP)
    videocloud: VideoCloud | None = Field(None, description="Makes a video in Video Cloud")
    library: Literal[True] | None = Field(None, description="The library of this installation")
    credentials: str | None = Field(None, max_length=128, description=_CREDENTIALS_HELP)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.url, self.videocloud, self.library)) != 1:
            raise ValueError("names one of url, videocloud and library")
        return self


class ReelRangeAsk(Selectors):
    """One range of a reel."""

    live_job_id: str | None = Field(None, max_length=64, description="Its job; default: that of the request")


class Output(Selectors):
    """One clip: which part of the recording, or which parts of which recordings, and where it goes. All times in s."""

    label: str = Field("", max_length=512)
    ranges: list[ReelRangeAsk] | None = Field(
        None, min_length=1, max_length=MOST_RANGES, description="Of a reel: the ranges that it joins, in their order"
    )
    url: str | None = Field(None, min_length=1, max_length=2048, description=_URL_HELP)
    videocloud: VideoCloud | None = Field(None, description="Makes a video in Video Cloud; excludes url")
    credentials: str | None = Field(None, max_length=128, description=_CREDENTIALS_HELP)
    destinations: list[DestinationAsk] | None = Field(
        None, min_length=1, max_length=8, description="Several destinations, in place of url or videocloud"
    )
    notifications: list[NotificationAsk] = Field([], max_length=16)
    images: ImagesAsk | None = Field(None, description="Images to make of the clip")
    capture_images: bool = Field(default=False, alias="capture-images", description="Make both images, as by default")
    crop: CropAsk | None = Field(None, description="Cut a part out of each picture; all of them are encoded")
    overlay: OverlayAsk | None = Field(None, description="Lay a picture over each; all of them are encoded")
    captions: CaptionsAsk | None = Field(None, description="Draw captions into each picture; all of them are encoded")
    encryption: EncryptionAsk | None = Field(None, description="Encrypt the files; absent: they are clear")
    mode: Literal["instant"] | None = Field(None, description="instant: a playlist of the recording; no file is made")


class ClipsAsk(BaseModel):
    """Clips of a live job, one per output."""

    model_config = ConfigDict(extra="ignore")

    outputs: list[Output] = Field(min_length=1, max_length=100)
    notifications: list[NotificationAsk] = Field([], max_length=16, description="Told of every output")


class VodCreate(ClipsAsk):
    """Clips of a live job."""

    live_job_id: str = Field(min_length=1, max_length=64)


class JobVodCreate(ClipsAsk):
    """Clips of the job in the path."""

    live_job_id: str | None = Field(None, max_length=64, description="If given, the job in the path")


class VodRef(BaseModel):
    """A clip that has been accepted."""

    jvod_id: str
    label: str


class VodsCreated(BaseModel):
    """The answer to a request for clips: an entry per output, in their order."""

    vod_jobs: list[VodRef]
    live_job_id: str


class AskedRange(BaseModel):
    """The requested range, in s of its clock (stream: from the first frame; wall: since the epoch)."""

    clock: Literal["stream", "wall"]
    start: float
    end: float
    duration: float


class MadeRange(BaseModel):
    """The range of the file, in s from the stream's first frame: in point included, out point excluded."""

    in_point: float
    out_point: float
    duration: float
    frames: int
    exact_in_point: str = Field(description="As a fraction n or n/d")
    exact_out_point: str = Field(description="As a fraction n or n/d")
    in_timecode: str | None = Field(None, description="SMPTE timecode of the first frame, when the encoder sent one")
    out_timecode: str | None = Field(None, description="SMPTE timecode of the frame after the last one")


class MissingRange(BaseModel):
    """A part of the range that the file lacks, in s from the stream's first frame."""

    start: float
    duration: float
    track: Literal["all", "video", "audio"] = "all"


class RangeView(BaseModel):
    """A range of a reel: as asked and as made, in its own job's time."""

    job_id: str
    asked: AskedRange
    made: MadeRange | None = Field(None, description="Null: nothing of it was recorded, or there is no file yet")
    gaps: list[MissingRange] = []


class DestinationView(BaseModel):
    """A destination of a clip, and how far the delivery to it is."""

    id: str = Field(description="Of the export that delivers to it")
    type: DestinationType
    url: str | None = Field(None, description="Without user, password and query; null: the library")
    credentials: str | None = Field(None, description="Label of the stored credentials; null: none or the default ones")
    state: Literal["waiting", "delivering", "delivered", "failed", "aborted"] = "waiting"
    accuracy: Accuracy | None = Field(None, description="Of the file that is there")
    location: str = Field("", description="Where the destination has the file")
    error: str = ""
    sent_bytes: int | None = Field(None, description="Bytes that it has taken of the file; only of a single clip")


class VodView(BaseModel):
    """A clip. Times are ms since the epoch unless the name says s."""

    jvod_id: str
    job_id: str
    label: str
    user_id: str = Field(description="The account")
    jvod_state: VodState
    jvod_type: DestinationType | Literal["instant"] = Field(description="Of the first destination")
    jvod_url: str | None = Field(
        None, description="Library: the MP4, once the fast file exists; otherwise the first destination's URL"
    )
    media_url: str | None = Field(
        None, description="The MP4 here, once the fast file exists; the exact one replaces it at the same URL"
    )
    playlist_url: str = Field(description="HLS from the recording's segments, at once and without an API key, for 24 h")
    signed_url: str | None = Field(None, description="The same without an API key, for 24 hours")
    progress: int | None = Field(None, description="Percent, as of a few seconds ago; null: not begun")
    jvod_created_at: int
    jvod_last_state_change_at: int
    jvod_finished_at: int | None = None
    jvod_duration_s: float = Field(description="Asked")
    jvod_reported_duration_s: float | None = Field(None, description="Made")
    accuracy: Accuracy | None = Field(None, description="Of the file that media_url gives now")
    method: Literal["copy", "smart", "reencode"] | None = Field(None, description="How that file was made")
    method_reason: str = Field("", description="Why it had to be encoded again as a whole")
    asked: AskedRange | None = Field(None, description="Null until it is known: of a clip ordered with its job")
    made: MadeRange | None = None
    gaps: list[MissingRange] = []
    ranges: list[RangeView] = Field(
        [], description="Of a reel; its own asked, made and gaps go from its first range to its last"
    )
    crop: CropAsk | None = Field(None, description="As asked")
    overlay: str | None = Field(None, description="Its URL without user, password and query, or its name")
    captions: str | None = Field(None, description="The same")
    encryption: EncryptionView | None = Field(None, description="Of the files; null: they are clear")
    images: list[ImageView] = Field([], description="Made after the exact file, before it is delivered")
    bytes: int | None = None
    sha256: str | None = None
    delivered: Accuracy | None = Field(None, description="The file that is at the first destination")
    location: str = Field("", description="Where the first destination has the file")
    destinations: list[DestinationView] = Field([], description="In the order of the request")
    wait: bool = False
    error: str = ""


class VodList(BaseModel):
    """A page of clips."""

    vod_jobs: list[VodView]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")
