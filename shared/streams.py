"""Streams, durable consumers and buckets, as tables; shared/provision.py makes them so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

COMMANDS = "COMMANDS"
EVENTS = "EVENTS"
SEGMENTS = "SEGMENTS"
SCHEDULES = "SCHEDULES"
DEADLETTERS = "DEADLETTERS"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A JetStream stream; `max_age` zero keeps messages until they are acknowledged or replaced.

    `readers` look messages up besides the consumers, `pruners` remove some.
    What a full one does: `discard` "old" drops its oldest message, "new" refuses the newest.
    """

    name: str
    subjects: tuple[str, ...]
    retention: Literal["workqueue", "limits"]
    max_age: timedelta
    max_bytes: int
    duplicate_window: timedelta = timedelta(minutes=10)
    max_per_subject: int = -1
    schedules: bool = False
    discard: Literal["old", "new"] = "old"
    readers: tuple[str, ...] = ()
    pruners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable pull consumer: one filter, one handler. `workers` pull loops run in each instance.

    `max_deliver` counts tries of handlers, without those that ended in NotYet; on the delivery after the last one the
    message is dead-lettered unread (its handler died every time). The middleware counts; the server delivers without
    a limit. -1: until the handler itself gives up. `max_ack_pending` 1 keeps the order, whatever fails and however
    many instances run.
    """

    durable: str
    service: str
    stream: str
    filter: str
    ack_wait: timedelta = timedelta(seconds=30)
    max_deliver: int = 8
    max_ack_pending: int = 256
    workers: int = 1


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A key-value bucket, its one writer, who reads it besides, and who removes what has come to its end."""

    name: str
    owner: str
    ttl: timedelta = timedelta(0)
    readers: tuple[str, ...] = ()
    removers: tuple[str, ...] = ()


STREAMS: tuple[StreamSpec, ...] = (
    StreamSpec(
        COMMANDS,
        (
            "clips.create.>", "clips.refine.>", "clips.cancel.>", "clips.delete.>", "exports.deliver.>",
            "library.delete.>", "live.finish.>", "recordings.sweep.>", "recordings.delete.>",
            "recordings.rebuild.>",
            "notifications.send.>", "notifications.replay.>", "restreams.command.>",
        ),
        "workqueue", timedelta(0), 1 << 30, discard="new", readers=("gateway",),
    ),
    StreamSpec(
        EVENTS,
        (
            "live.session.started.>", "live.session.ended.>", "live.session.warned.>", "live.job.state_changed.>",
            "recordings.hour.closed.>",
            "recordings.range.expired.>", "clips.state_changed.>", "clips.segment_accurate.ready.>",
            "clips.frame_accurate.ready.>", "exports.delivered.>", "exports.failed.>", "restreams.state_changed.>",
            "restreams.target.state_changed.>", "restreams.file.started.>", "restreams.warned.>",
        ),
        "limits", timedelta(days=8), 2 << 30,
    ),
    StreamSpec(
        SEGMENTS, ("media.segment.written.>",), "limits", timedelta(hours=48), 4 << 30,
        readers=("gateway", "archiver", "clipper", "restreamer"), pruners=("archiver",),
    ),
    StreamSpec(
        SCHEDULES, ("schedules.>", "due.>"), "limits", timedelta(0), 1 << 30, max_per_subject=1, schedules=True,
        readers=("scheduler",), pruners=("scheduler",),
    ),
    StreamSpec(
        DEADLETTERS, ("deadletters.>", "failures.>"), "limits", timedelta(days=30), 1 << 30, max_per_subject=1
    ),
)  # fmt: skip

CONSUMERS: tuple[ConsumerSpec, ...] = (
    ConsumerSpec("clipper-create", "clipper", COMMANDS, "clips.create.>", workers=3),
    ConsumerSpec("clipper-refine", "clipper", COMMANDS, "clips.refine.>", max_deliver=5, workers=1),
    ConsumerSpec("clipper-cancel", "clipper", COMMANDS, "clips.cancel.>"),
    ConsumerSpec("clipper-delete", "clipper", COMMANDS, "clips.delete.>"),
    ConsumerSpec("clipper-jobs", "clipper", EVENTS, "live.job.state_changed.>"),
    ConsumerSpec("clipper-delivered", "clipper", EVENTS, "exports.delivered.>"),
    ConsumerSpec("clipper-undelivered", "clipper", EVENTS, "exports.failed.>"),
    ConsumerSpec("exporter-deliver", "exporter", COMMANDS, "exports.deliver.>", workers=4),
    ConsumerSpec("exporter-delete", "exporter", COMMANDS, "library.delete.>"),
    ConsumerSpec("gateway-finish", "gateway", COMMANDS, "live.finish.>"),
    ConsumerSpec("gateway-started", "gateway", EVENTS, "live.session.started.>"),
    ConsumerSpec("gateway-ended", "gateway", EVENTS, "live.session.ended.>"),
    ConsumerSpec("scheduler-started", "scheduler", EVENTS, "live.session.started.>"),
    ConsumerSpec("scheduler-ended", "scheduler", EVENTS, "live.session.ended.>"),
    ConsumerSpec("scheduler-jobs", "scheduler", EVENTS, "live.job.state_changed.>"),
    ConsumerSpec("scheduler-due", "scheduler", SCHEDULES, "due.>", max_deliver=50),
    ConsumerSpec("archiver-segments", "archiver", SEGMENTS, "media.segment.written.>", max_deliver=50, workers=2),
    ConsumerSpec("archiver-jobs", "archiver", EVENTS, "live.job.state_changed.>", max_deliver=50),
    ConsumerSpec("archiver-sweep", "archiver", COMMANDS, "recordings.sweep.>"),
    ConsumerSpec("archiver-delete", "archiver", COMMANDS, "recordings.delete.>", max_deliver=50),
    ConsumerSpec("archiver-rebuild", "archiver", COMMANDS, "recordings.rebuild.>", workers=1),
    ConsumerSpec("restreamer-command", "restreamer", COMMANDS, "restreams.command.>", timedelta(seconds=10), 8, 1),
    ConsumerSpec("notifier-clips", "notifier", EVENTS, "clips.>", timedelta(seconds=10), 10, 1),
    ConsumerSpec("notifier-live", "notifier", EVENTS, "live.>", timedelta(seconds=10), 10, 1),
    ConsumerSpec("notifier-exports", "notifier", EVENTS, "exports.>", timedelta(seconds=10), 10, 1),
    ConsumerSpec("notifier-recordings", "notifier", EVENTS, "recordings.>", timedelta(seconds=10), 10, 1),
    ConsumerSpec("notifier-restreams", "notifier", EVENTS, "restreams.>", timedelta(seconds=10), 10, 1),
    ConsumerSpec(
        "notifier-send", "notifier", COMMANDS, "notifications.send.>", max_deliver=-1, max_ack_pending=20_000
    ),
    ConsumerSpec("notifier-replay", "notifier", COMMANDS, "notifications.replay.>"),
)  # fmt: skip

BUCKETS: tuple[BucketSpec, ...] = (
    BucketSpec("events", "gateway", readers=("ingester", "archiver", "clipper", "scheduler", "restreamer")),
    BucketSpec("keys", "gateway", readers=("ingester",)),
    BucketSpec("credentials", "gateway", readers=("restreamer",)),
    BucketSpec("webhooks", "gateway", readers=("notifier",)),
    BucketSpec("nonces", "gateway"),
    BucketSpec(
        "sessions", "ingester", readers=("gateway", "archiver", "clipper", "restreamer"), removers=("archiver",)
    ),
    BucketSpec("leases", "ingester", ttl=timedelta(seconds=15)),
    BucketSpec("recordings", "archiver", readers=("gateway", "clipper", "restreamer")),
    BucketSpec("clips", "clipper", readers=("gateway", "restreamer")),
    BucketSpec("exports", "exporter", ttl=timedelta(days=30)),
    BucketSpec("restreams", "restreamer", readers=("gateway",)),
    BucketSpec("places", "restreamer", ttl=timedelta(hours=72), readers=("gateway",)),
    BucketSpec("deliveries", "notifier", ttl=timedelta(days=30), readers=("gateway",)),
    BucketSpec("schedules", "scheduler"),
)


def consumer(durable: str) -> ConsumerSpec:
    """Find a consumer by its durable name; KeyError when there is none."""
    for spec in CONSUMERS:
        if spec.durable == durable:
            return spec
    raise KeyError(durable)


def consumers_of(service: str) -> tuple[ConsumerSpec, ...]:
    """Give the consumers that a service runs."""
    return tuple(spec for spec in CONSUMERS if spec.service == service)
