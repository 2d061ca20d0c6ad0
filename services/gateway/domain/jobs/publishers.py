"""A job's publishers, as the ingester last told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal

from nats.js import JetStreamContext
from pydantic import BaseModel, Field

from shared.clock import Clock
from shared.kv import Bucket
from shared.messages.jobs import PublisherStatus, status_prefix
from shared.messages.live import EndReason, Protocol

STALE: Final = timedelta(seconds=30)

PublisherState = Literal["live", "ended", "lost"]


class PublisherView(BaseModel):
    """A publisher of a job: how things stand, or stood last. Times are ms since the epoch."""

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
    bitrate: int = Field(description="Bits a second, of the last 5 s")
    bytes: int
    frames: int = Field(description="Pictures")
    keyframes: int
    last_keyframe_at: int | None = None
    jumps: int = Field(description="Jumps of the encoder's time stamps")
    damaged_frames: int = Field(description="Came incomplete or out of place, and were left out")
    dropped_frames: int = Field(description="RTMP: came before the sequence header that they need")
    lost_packets: int = Field(description="SRT: never came in time")
    unsupported: list[str] = Field(description="Tracks that cannot be recorded: `AV1 video`")
    warnings: list[str] = Field(description="What is wrong, for people")


class Publishers:
    """Reads the ingester's bucket."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, "sessions", PublisherStatus)
        self._clock = clock

    async def of(self, account: str, event: str) -> list[PublisherView]:
        """Give a job's publishers: who is connected, then who was, the latest first."""
        keys = await self._bucket.keys(status_prefix(account, event))
        stored = await asyncio.gather(*map(self._bucket.get, keys))
        views = [view(s.value, self._clock.now_ms()) for s in stored if s is not None]
        return sorted(views, key=lambda v: (v.state == "live", v.connected_at), reverse=True)


def view(status: PublisherStatus, now_ms: int) -> PublisherView:
    """Show a publisher at a time."""
    silent = timedelta(milliseconds=now_ms - status.updated_ms)
    state: PublisherState = "ended" if status.ended_ms is not None else "lost" if silent > STALE else "live"
    return PublisherView(
        session=status.session,
        state=state,
        protocol=status.protocol,
        peer=status.peer,
        connected_at=status.since_ms,
        updated_at=status.updated_ms,
        ended_at=status.ended_ms,
        reason=status.reason,
        video_codec=status.video_codec or None,
        audio_codec=status.audio_codec or None,
        width=status.width or None,
        height=status.height or None,
        frame_rate=status.frame_rate or None,
        sample_rate=status.sample_rate or None,
        channels=status.channels or None,
        bitrate=status.bitrate,
        bytes=status.bytes,
        frames=status.frames,
        keyframes=status.keyframes,
        last_keyframe_at=status.last_keyframe_ms,
        jumps=status.jumps,
        damaged_frames=status.damaged_frames,
        dropped_frames=status.dropped_frames,
        lost_packets=status.lost_packets,
        unsupported=list(status.unsupported),
        warnings=list(status.warnings),
    )
