"""A stream as the streamer API shows it: its configuration, what stands in for what was not set, and its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from services.gateway.domain.jobs.publishers import Publisher
from services.gateway.facades.flussonic.models import PUBLISH
from services.gateway.facades.flussonic.streams import Stream, Streams
from services.gateway.identity.auth import Caller
from shared.messages.jobs import JobRecord
from shared.messages.sessions import PublisherStatus
from shared.security.secrets import SecretUnreadable

STATUS: Final = {
    "standby": "waiting", "waiting": "waiting", "disconnected": "waiting", "processing": "running",
    "finishing": "stopping", "cancelling": "stopping", "finished": "stopped", "cancelled": "stopped",
    "failed": "error", "error": "error",
}  # fmt: skip
NOT_PULLED: Final = "is kept, but not pulled yet: publish to the stream with an encoder"


@dataclass(frozen=True, slots=True)
class Ingest:
    """Where encoders publish: a host, with brackets round an IPv6 address, and the port of each protocol."""

    host: Callable[[], str]
    rtmp_port: int
    srt_port: int


class StreamViews:
    """Makes views of streams; addresses with secrets are only for callers who may write jobs."""

    def __init__(self, streams: Streams, ingest: Ingest, retention: timedelta) -> None:
        self._streams = streams
        self._ingest = ingest
        self._retention_s = retention // timedelta(seconds=1)

    @property
    def retention_days(self) -> int:
        """How many whole days recordings are kept, at least one."""
        return max(self._retention_s // 86_400, 1)

    async def whole(self, caller: Caller, stream: Stream, job: JobRecord | None) -> dict[str, Any]:
        """Return a stream's view with what its publisher sends."""
        shown = self.brief(caller, stream, job)
        publishers = await self._streams.jobs.publishers.of(stream.account, stream.event) if job else []
        if live := next((p for p in publishers if p.state == "live"), None):
            shown["stats"] |= _received(live)
        return shown

    def brief(self, caller: Caller, stream: Stream, job: JobRecord | None) -> dict[str, Any]:
        """Return a stream's view by its job's record alone, for a list."""
        config = stream.config if caller.may("jobs:write") else _masked(stream.config)
        inputs = config.get("inputs") or [{"url": PUBLISH}]
        dvr = {"expiration": self._retention_s} | (config.get("dvr") or {})
        return {
            **config,
            "name": stream.name,
            "static": True,
            "inputs": inputs,
            "dvr": dvr,
            "config_on_disk": {"name": stream.name, **config},
            "stats": _stats(job),
            "reelay": self._ours(caller, stream, job, self._notes(inputs, dvr)),
        }

    def _notes(self, inputs: list[dict[str, Any]], dvr: dict[str, Any]) -> list[str]:
        notes = [
            f"inputs[{number}]: {NOT_PULLED}"
            for number, one in enumerate(inputs) if not str(one.get("url", "")).startswith(PUBLISH)
        ]  # fmt: skip
        if dvr["expiration"] != self._retention_s:
            notes.append(
                f"dvr.expiration: is kept; recordings are deleted after {self._retention_s} s (REELAY_RETENTION)"
            )
        return notes

    def _ours(self, caller: Caller, stream: Stream, job: JobRecord | None, notes: list[str]) -> dict[str, Any]:
        made: dict[str, Any] = {"job": stream.event if job else None, "notes": notes}
        if job is None or job.ended or not caller.may("jobs:write"):
            return made
        host, ingest = self._ingest.host(), self._ingest
        try:
            made["stream_url"] = f"rtmp://{host}:{ingest.rtmp_port}/live"
            made["stream_name"] = self._streams.jobs.stream_key(job)
            query = f"streamid={job.event}&passphrase={self._streams.jobs.passphrase(job)}&pbkeylen=16"
            made["srt_url"] = f"srt://{host}:{ingest.srt_port}?{query}"
        except SecretUnreadable:
            notes.append("stream_name: was encrypted under another SECRET_KEY")
        return made


def _stats(job: JobRecord | None) -> dict[str, Any]:
    alive = job is not None and job.state == "processing"
    made: dict[str, Any] = {
        "alive": alive, "running": alive, "status": STATUS[job.state] if job else "stopped",
        "publish_enabled": job is not None and job.accepts_publisher, "dvr_enabled": True,
    }  # fmt: skip
    if job is not None:
        made["id"] = job.event
        opened = next((c.at_ms for c in reversed(job.history) if c.state == "processing"), None) if alive else None
        made |= {"opened_at": opened} if opened else {}
    return made


def _received(publisher: Publisher) -> dict[str, Any]:
    status = publisher.status
    return {
        "bytes_in": status.bytes,
        "bitrate": status.bitrate // 1000,
        "input_bitrate": status.bitrate // 1000,
        "proto": status.protocol,
        "ip": status.peer.rpartition(":")[0].strip("[]"),
        "media_info": {"flow_type": "stream", "tracks": _tracks(status)},
    }


def _tracks(status: PublisherStatus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if status.video_codec:
        found.append({
            "track_id": "v1", "content": "video", "codec": status.video_codec, "width": status.width,
            "height": status.height, "fps": status.frame_rate,
        })  # fmt: skip
    for number, sound in enumerate(status.sounds, 1):
        found.append({
            "track_id": f"a{number}", "content": "audio", "codec": sound.codec, "sample_rate": sound.sample_rate,
            "channels": sound.channels, **({"language": sound.language} if sound.language else {}),
        })  # fmt: skip
    return found


def _masked(config: dict[str, Any]) -> dict[str, Any]:
    """Return what was set without anything that may be a secret.

    That is: names, passwords and queries of addresses, and of `dvr` all but how long it is kept, for its `root` may be
    a bucket's address with its keys.
    """
    shown = {name: value for name, value in config.items() if name in {"title", "inputs", "comment", "labels"}}
    kept = config.get("dvr") or {}
    if "expiration" in kept:
        shown["dvr"] = {"expiration": kept["expiration"]}
    if config.get("inputs"):
        shown["inputs"] = [{"url": _bare(str(one.get("url", "")))} for one in config["inputs"]]
    return shown


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else url
