"""Bodies of requests to Brightcove's Live API. Fields that are not named are ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.http.bodies import no_boolean, plain
from services.gateway.http.receivers import NotificationAsk
from services.gateway.http.selectors import Selectors
from services.gateway.identity.credential_rules import fit_label
from shared.messages.credentials import CredentialType, Tls
from shared.security.secrets import redact_url

LARGEST_KEPT: Final = 64 * 1024


def is_clip(output: Mapping[str, Any]) -> bool:
    """Return whether an output of a new job is a clip of it, and not a rendition to be watched."""
    return output.get("live_stream") is False


class JobAsk(BaseModel):
    """A new live job."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field("", max_length=512)
    label: str = Field("", max_length=512)
    live_stream: Literal[True] = True
    region: str | None = Field(None, max_length=64)
    protocol: Literal["rtmp", "srt"] = "rtmp"
    channel_type: Literal["24x7", "event"] = "event"
    reconnect_time: int = Field(1800, ge=1, le=7200)
    event_length: int = Field(0, ge=0, le=93_600)
    live_dvr_sliding_window_duration: int = Field(0, ge=0, le=86_400)
    static: bool = False
    outputs: list[dict[str, Any]] = Field([], max_length=64)
    notifications: list[NotificationAsk] = Field([], max_length=16)
    videocloud: dict[str, Any] | None = None
    encryption: dict[str, Any] | None = None

    _whole = field_validator("reconnect_time", "event_length", "live_dvr_sliding_window_duration", mode="before")(
        no_boolean
    )

    @field_validator("videocloud")
    @classmethod
    def _bounded(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if len(json.dumps(plain(value))) > LARGEST_KEPT:
            raise ValueError(f"takes more than {LARGEST_KEPT} bytes")
        return value

    @field_validator("encryption")
    @classmethod
    def _clear(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value:
            raise ValueError("there are no encrypted streams here")
        return value

    def clips(self) -> dict[int, dict[str, Any]]:
        """Return the outputs that are clips, by their positions."""
        return {n: output for n, output in enumerate(self.outputs) if is_clip(output)}

    def kept(self) -> dict[str, Any]:
        """Return the given fields that are only shown again; none of them may hold a secret."""
        shown = {"label", "region", "protocol", "channel_type", "videocloud"}
        given = self.model_dump(include=shown, exclude_unset=True)
        if self.notifications:
            told = [{"url": redact_url(one.url), "event": one.event} for one in self.notifications]
            given["notifications"] = told
        return dict(plain(given))


class OutputAsk(Selectors):
    """One clip: which part of the stream, and where it goes. All times in s."""

    label: str = Field("", max_length=512)
    url: str | None = Field(None, min_length=1, max_length=2048)
    videocloud: VideoCloud | None = None
    credentials: str | None = Field(None, max_length=128)
    notifications: list[NotificationAsk] = Field([], max_length=16)
    mode: Literal["instant"] | None = None


class ClipsAsk(BaseModel):
    """Clips of a live job, one per output."""

    model_config = ConfigDict(extra="ignore")

    live_job_id: str | None = Field(None, max_length=64)
    outputs: list[OutputAsk] = Field(min_length=1, max_length=100)
    notifications: list[NotificationAsk] = Field([], max_length=16)


class RtmpOutAsk(BaseModel):
    """A target to send a live job to; there is one rendition, so the label of an output chooses nothing."""

    model_config = ConfigDict(extra="ignore")

    url: str = Field(min_length=1, max_length=2048)
    label: str | None = Field(None, max_length=256)
    output_label: str | None = Field(None, max_length=256)


class OauthSettings(BaseModel):
    """Where tokens are had."""

    url: str = Field(min_length=1, max_length=2048)


class CredentialAsk(BaseModel):
    """Credentials, new or changed."""

    model_config = ConfigDict(extra="ignore")

    credential_label: Annotated[str, AfterValidator(fit_label)] | None = None
    credential_type: CredentialType | None = None
    credential_public: str | None = Field(None, max_length=1024)
    credential_private: str | None = Field(None, max_length=16_000)
    credential_default_for_type: bool | None = None
    oauth_settings: OauthSettings | None = None
    endpoint: str | None = Field(None, max_length=2048)
    region: str | None = Field(None, max_length=64)
    path_style: bool | None = None
    session_token: str | None = Field(None, max_length=4096)
    host_key: str | None = Field(None, max_length=8192)
    tls: Tls | None = None
    host: str | None = Field(None, max_length=253)
    account_id: str | None = Field(None, max_length=32)


class NewCredentialAsk(CredentialAsk):
    """New credentials."""

    credential_label: Annotated[str, AfterValidator(fit_label)]
    credential_type: CredentialType
