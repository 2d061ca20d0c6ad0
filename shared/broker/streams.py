"""Streams, durable consumers and buckets, as tables; shared/broker/provision.py makes them so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from shared.broker import buckets

OLD_COMMANDS = "COMMANDS"  # the one work queue of all services, until each got its own (ADR 21)
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
    """A durable pull consumer: one filter, one handler. `workers` messages are worked on at once in each instance.

    Of a work queue, it stands for one consumer an account, and `max_ack_pending` is an account's: any number may wait
    for another try (-1), as none is fetched before somebody works on it.

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

    @property
    def channel(self) -> str:
        """The filter without its wildcard."""
        return self.filter.removesuffix(".>")

    @property
    def ordered(self) -> bool:
        """Whether an account's commands are worked on one after the other, over all instances."""
        return self.turns and self.max_ack_pending == 1

    @property
    def turns(self) -> bool:
        """Whether accounts take turns: in every work queue."""
        return self.stream in {commands_of(service) for service in WORKERS}


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A key-value bucket, its one writer, who reads it besides, and who removes what has come to its end."""

    name: str
    owner: str
    ttl: timedelta = timedelta(0)
    readers: tuple[str, ...] = ()
    removers: tuple[str, ...] = ()


WORKERS: Final = ("gateway", "archiver", "clipper", "exporter", "restreamer", "notifier")


def commands_of(service: str) -> str:
    """Name the work queue of a service."""
    return f"{OLD_COMMANDS}_{service.upper()}"


def _work_queue(service: str, *channels: str, readers: tuple[str, ...] = ()) -> StreamSpec:
    subjects = tuple(f"{channel}.*.*" for channel in channels)
    return StreamSpec(
        commands_of(service), subjects, "workqueue", timedelta(0), 1 << 30, discard="new", readers=readers
    )


STREAMS: tuple[StreamSpec, ...] = (
    _work_queue("gateway", "live.finish"),
    _work_queue("archiver", "recordings.sweep", "recordings.delete", "recordings.rebuild"),
    _work_queue("clipper", "clips.create", "clips.refine", "clips.cancel", "clips.delete", readers=("gateway",)),
    _work_queue("exporter", "exports.deliver", "library.delete"),
    _work_queue("restreamer", "restreams.command", readers=("gateway",)),
    _work_queue("notifier", "notifications.tell", "notifications.send", "notifications.replay"),
    StreamSpec(
        EVENTS,
        (
            "live.session.started.>", "live.session.ended.>", "live.session.warned.>", "live.job.state_changed.>",
            "recordings.hour.closed.>",
            "recordings.range.expired.>", "clips.state_changed.>", "clips.segment_accurate.ready.>",
            "clips.frame_accurate.ready.>", "exports.delivered.>", "exports.failed.>", "restreams.state_changed.>",
            "restreams.target.state_changed.>", "restreams.file.started.>", "restreams.warned.>",
        ),
        "limits", timedelta(days=8), 2 << 30, readers=("notifier",),
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


def _work(
    durable: str, service: str, what: str, workers: int = 1, ack_wait: timedelta = timedelta(seconds=30),
    *, max_deliver: int = 8, ordered: bool = False,
) -> ConsumerSpec:  # fmt: skip
    most = 1 if ordered else -1
    return ConsumerSpec(durable, service, commands_of(service), what, ack_wait, max_deliver, most, workers)


CONSUMERS: tuple[ConsumerSpec, ...] = (
    _work("clipper-create", "clipper", "clips.create.>", 3),
    _work("clipper-refine", "clipper", "clips.refine.>", max_deliver=5),
    _work("clipper-cancel", "clipper", "clips.cancel.>"),
    _work("clipper-delete", "clipper", "clips.delete.>"),
    ConsumerSpec("clipper-jobs", "clipper", EVENTS, "live.job.state_changed.>"),
    ConsumerSpec("clipper-delivered", "clipper", EVENTS, "exports.delivered.>"),
    ConsumerSpec("clipper-undelivered", "clipper", EVENTS, "exports.failed.>"),
    _work("exporter-deliver", "exporter", "exports.deliver.>", 4),
    _work("exporter-delete", "exporter", "library.delete.>"),
    _work("gateway-finish", "gateway", "live.finish.>"),
    ConsumerSpec("gateway-started", "gateway", EVENTS, "live.session.started.>"),
    ConsumerSpec("gateway-ended", "gateway", EVENTS, "live.session.ended.>"),
    ConsumerSpec("scheduler-started", "scheduler", EVENTS, "live.session.started.>"),
    ConsumerSpec("scheduler-ended", "scheduler", EVENTS, "live.session.ended.>"),
    ConsumerSpec("scheduler-jobs", "scheduler", EVENTS, "live.job.state_changed.>"),
    ConsumerSpec("scheduler-due", "scheduler", SCHEDULES, "due.>", max_deliver=50),
    ConsumerSpec("archiver-segments", "archiver", SEGMENTS, "media.segment.written.>", max_deliver=50, workers=2),
    ConsumerSpec("archiver-jobs", "archiver", EVENTS, "live.job.state_changed.>", max_deliver=50),
    _work("archiver-sweep", "archiver", "recordings.sweep.>"),
    _work("archiver-delete", "archiver", "recordings.delete.>", max_deliver=50),
    _work("archiver-rebuild", "archiver", "recordings.rebuild.>"),
    _work("restreamer-command", "restreamer", "restreams.command.>", 16, timedelta(seconds=10), ordered=True),
    ConsumerSpec("notifier-clips", "notifier", EVENTS, "clips.>", timedelta(seconds=10), -1, 1),
    ConsumerSpec("notifier-live", "notifier", EVENTS, "live.>", timedelta(seconds=10), -1, 1),
    ConsumerSpec("notifier-exports", "notifier", EVENTS, "exports.>", timedelta(seconds=10), -1, 1),
    ConsumerSpec("notifier-recordings", "notifier", EVENTS, "recordings.>", timedelta(seconds=10), -1, 1),
    ConsumerSpec("notifier-restreams", "notifier", EVENTS, "restreams.>", timedelta(seconds=10), -1, 1),
    _work("notifier-tell", "notifier", "notifications.tell.>", 64, timedelta(seconds=10), max_deliver=10, ordered=True),
    _work("notifier-send", "notifier", "notifications.send.>", 256, max_deliver=-1),
    _work("notifier-replay", "notifier", "notifications.replay.>"),
)  # fmt: skip

BUCKETS: tuple[BucketSpec, ...] = (
    BucketSpec(buckets.JOBS, "gateway", readers=("ingester", "archiver", "clipper", "scheduler", "restreamer")),
    BucketSpec(buckets.KEYS, "gateway", readers=("ingester",)),
    BucketSpec(buckets.CREDENTIALS, "gateway", readers=("restreamer",)),
    BucketSpec(buckets.WEBHOOKS, "gateway", readers=("notifier",)),
    BucketSpec(buckets.NONCES, "gateway"),
    BucketSpec(buckets.CONTEXTS, "gateway", readers=("notifier",)),
    BucketSpec(
        buckets.SESSIONS, "ingester", readers=("gateway", "archiver", "clipper", "restreamer"), removers=("archiver",)
    ),
    BucketSpec(buckets.LEASES, "ingester", ttl=timedelta(seconds=15)),
    BucketSpec(buckets.RECORDINGS, "archiver", readers=("gateway", "clipper", "restreamer")),
    BucketSpec(buckets.CLIPS, "clipper", readers=("gateway", "restreamer")),
    BucketSpec(buckets.EXPORTS, "exporter", ttl=timedelta(days=30)),
    BucketSpec(buckets.RESTREAMS, "restreamer", readers=("gateway",)),
    BucketSpec(buckets.PLACES, "restreamer", ttl=timedelta(hours=72), readers=("gateway",)),
    BucketSpec(buckets.DELIVERIES, "notifier", ttl=timedelta(days=30), readers=("gateway",)),
    BucketSpec(buckets.SCHEDULES, "scheduler"),
)


def consumer(durable: str) -> ConsumerSpec:
    """Find a consumer by its durable name; KeyError when there is none."""
    for spec in CONSUMERS:
        if spec.durable == durable:
            return spec
    raise KeyError(durable)


def consumers_of(service: str) -> tuple[ConsumerSpec, ...]:
    """Return the consumers that a service runs."""
    return tuple(spec for spec in CONSUMERS if spec.service == service)
