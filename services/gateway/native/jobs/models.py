"""Bodies of requests and answers about live jobs; names are Brightcove's."""

from __future__ import annotations

import json
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.gateway.domain.jobs.jobs import NewJob
from services.gateway.domain.jobs.publishers import PublisherState
from services.gateway.http.bodies import no_boolean, plain
from services.gateway.http.receivers import NotificationAsk
from services.gateway.native.clips.models import VodRef
from shared.messages.live import EndReason, JobState, Protocol, SepState
from shared.security.secrets import redact_url

LARGEST_EXTRA: Final = 64 * 1024
_OWN: Final = {"name", "reconnect_time", "event_length", "live_dvr_sliding_window_duration", "static", "encrypted"}


class JobCreate(BaseModel):
    """A new live job. Fields that are not named here are stored and returned."""

    model_config = ConfigDict(extra="allow")

    name: str = Field("", max_length=512, description="For people")
    live_stream: Literal[True] = Field(default=True, description="Always true; accepted for compatibility")
    region: str | None = Field(None, max_length=64, description="Kept; a self-hosted installation has one region")
    reconnect_time: int = Field(1800, ge=1, le=7200, description="s without an encoder after which the job finishes")
    event_length: int = Field(0, ge=0, le=93_600, description="s after which the job finishes; 0: no limit")
    live_dvr_sliding_window_duration: int | None = Field(
        None, ge=1, le=86_400, description="s that viewers can go back; absent: the whole recording"
    )
    static: bool = Field(
        default=False, description="A static entry point: activated and deactivated as often as it is needed"
    )
    encrypted: bool | None = Field(
        None, description="Whether its recording is encrypted in the store; absent: as the installation's setting says"
    )
    notifications: list[NotificationAsk] = Field(
        [], max_length=16, description="Told of the job's states, of its outputs, and when its clips have finished"
    )
    outputs: list[dict[str, Any]] = Field(
        [],
        max_length=100,
        description="Those with live_stream: false are clips (see VodCreate), made when the job has ended",
    )

    _whole = field_validator("reconnect_time", "event_length", "live_dvr_sliding_window_duration", mode="before")(
        no_boolean
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(json.dumps(self._kept())) > LARGEST_EXTRA:
            raise ValueError(f"the fields that are only kept take more than {LARGEST_EXTRA} bytes")
        return self

    def _kept(self) -> dict[str, Any]:
        kept = {k: v for k, v in (self.model_extra or {}).items() if k not in _OWN}
        if "region" in self.model_fields_set:
            kept["region"] = self.region
        if self.notifications:
            kept["notifications"] = [_shown(one) for one in self.notifications]
        if self.outputs:
            kept["outputs"] = [one for one in self.outputs if not _is_clip(one)]
        return dict(plain(kept))

    def clips(self) -> dict[int, dict[str, Any]]:
        """Return the outputs that are clips, by their positions."""
        return {position: one for position, one in enumerate(self.outputs) if _is_clip(one)}

    def to_new_job(self) -> NewJob:
        """Return the job for the domain."""
        return NewJob(
            name=self.name,
            reconnect_time_s=self.reconnect_time,
            event_length_s=self.event_length,
            dvr_window_s=self.live_dvr_sliding_window_duration or 0,
            static=self.static,
            encrypted=self.encrypted,
            fields=self._kept(),
        )


def _shown(asked: NotificationAsk) -> str | dict[str, Any]:
    """Return a receiver as it came, without password and query."""
    url = redact_url(asked.url)
    given = asked.model_dump(exclude_unset=True, exclude={"url"})
    return {"url": url, **given} if given else url


def _is_clip(output: dict[str, Any]) -> bool:
    return output.get("live_stream") is False


class StateEntry(BaseModel):
    """A state that a job entered."""

    state: JobState
    timestamp: int = Field(description="ms since the epoch")


class SoundTrackView(BaseModel):
    """A sound track that is recorded."""

    codec: str
    language: str | None = Field(None, description="Three letters (ISO 639-2), if the stream tells it")
    sample_rate: int
    channels: int


class PublisherView(BaseModel):
    """A publisher of a job, with its current or last values. Times are ms since the epoch."""

    session: str
    state: PublisherState = Field(description="lost: nothing has been heard of its ingester for 30 s")
    protocol: Protocol
    peer: str = Field(description="Address and port")
    connected_at: int
    updated_at: int
    ended_at: int | None = None
    reason: EndReason | None = Field(None, description="Why it ended")
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = Field(None, description="By the time stamps of the last 5 s")
    sample_rate: int | None = None
    channels: int | None = None
    audio_tracks: list[SoundTrackView] = Field(description="All that are recorded; the first is played by default")
    bitrate: int = Field(description="Bits a second, of the last 5 s")
    bytes: int
    frames: int = Field(description="Pictures")
    keyframes: int
    last_keyframe_at: int | None = None
    jumps: int = Field(description="Jumps of the encoder's time stamps")
    damaged_frames: int = Field(description="Came incomplete or out of order, and were left out")
    dropped_frames: int = Field(description="RTMP: came before the sequence header that they need")
    lost_packets: int = Field(description="SRT: never came in time")
    unsupported: list[str] = Field(description="Tracks that cannot be recorded: `AV1 video`")
    warnings: list[str] = Field(description="What is wrong, for people")


class JobView(BaseModel):
    """A live job. Times are ms since the epoch."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    state: JobState
    state_history: list[StateEntry]
    account_id: str
    live_stream: bool = True
    static: bool
    sep_state: SepState = Field("none", description="Of a static entry point; ready: nothing is in progress")
    active: bool | None = Field(None, description="Whether a static entry point lets its encoder in; null: it is none")
    stream_url: str = Field(description="Where an encoder publishes by RTMP")
    stream_name: str | None = Field(None, description="The stream key; only for keys with the scope jobs:write")
    srt_url: str | None = Field(None, description="Where an encoder publishes by SRT, with the passphrase; as above")
    playback_url: str = Field(description="HLS at the live edge, for about a day without an API key")
    playback_url_dvr: str = Field(description="The same with the whole DVR window")
    created_at: int
    modified_at: int
    finished_at: int | None = None
    reconnect_time: int
    event_length: int
    live_dvr_sliding_window_duration: int | None = None
    encrypted: bool | None = Field(None, description="As asked for; null: as the installation's setting says")
    publishers: list[PublisherView] | None = Field(
        None, description="Who publishes, then who did, 16 at most; null in lists"
    )


class JobCreated(JobView):
    """A new live job, and the clips that were ordered with it."""

    vod_jobs: list[VodRef] = Field(description="An entry per output that is a clip, in their order")


class JobList(BaseModel):
    """A page of jobs."""

    jobs: list[JobView]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")
