"""Tables of streams, durable consumers and buckets; shared/broker/provision.py creates them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from shared.broker import buckets, durables
from shared.messages import (
    clips,
    exports,
    live,
    media,
    notifications,
    pictures,
    restream_commands,
    restreams,
    schedules,
)
from shared.messages.base import Message

OLD_COMMANDS = "COMMANDS"  # the one work queue of all services, until each got its own (ADR 21)
EVENTS = "EVENTS"
SEGMENTS = "SEGMENTS"
SCHEDULES = "SCHEDULES"
DEADLETTERS = "DEADLETTERS"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A JetStream stream; `max_age` zero keeps messages until they are acknowledged or replaced.

    `readers` are services that look up messages without a consumer, `pruners` those that remove messages.
    When the stream is full, `discard` "old" drops the oldest message, "new" refuses the newest.
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
    """A durable pull consumer: one filter, one handler. Each instance handles `workers` messages at once.

    For a work queue it stands for one consumer per account, and `max_ack_pending` is per account: any number may wait
    for another try (-1), because a message is fetched only when a worker is free.

    `max_deliver` counts tries of the handler, without those that ended in NotYet; on the delivery after the last one
    the message goes to the dead letters without being handled (its handler died every time). The middleware counts;
    the server delivers without a limit. -1: until the handler itself gives up. `max_ack_pending` 1 keeps the order,
    whatever fails and however many instances run.
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
        """Whether an account's commands are handled one after the other, across all instances."""
        return self.turns and self.max_ack_pending == 1

    @property
    def turns(self) -> bool:
        """Whether accounts take turns, as in every work queue."""
        return self.stream in {commands_of(service) for service in WORKERS}


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A key-value bucket, the service that writes it, its other readers, and the services that remove old keys."""

    name: str
    owner: str
    ttl: timedelta = timedelta(0)
    readers: tuple[str, ...] = ()
    removers: tuple[str, ...] = ()


WORKERS: Final = ("gateway", "archiver", "clipper", "exporter", "restreamer", "notifier")


def commands_of(service: str) -> str:
    """Return the name of a service's work queue."""
    return f"{OLD_COMMANDS}_{service.upper()}"


def every(model: type[Message]) -> str:
    """Return the subject of all messages of a channel."""
    return f"{model.channel}.>"


def _work_queue(service: str, *commands: type[Message], readers: tuple[str, ...] = ()) -> StreamSpec:
    subjects = tuple(f"{command.channel}.*.*" for command in commands)
    return StreamSpec(
        commands_of(service), subjects, "workqueue", timedelta(0), 1 << 30, discard="new", readers=readers
    )


STREAMS: tuple[StreamSpec, ...] = (
    _work_queue("gateway", live.LiveFinish),
    _work_queue("archiver", media.RecordingsSweep, media.RecordingDelete, media.RecordingRebuild),
    _work_queue(
        "clipper", clips.ClipCreate, clips.ClipRefine, clips.ClipCopyLong, clips.ClipRefineLong, clips.ClipPicture,
        clips.ClipCancel, clips.ClipDelete, pictures.RecordingPicture, readers=("gateway",),
    ),
    _work_queue("exporter", exports.ExportDeliver, exports.ExportAbort, exports.CredentialTest, exports.LibraryDelete),
    _work_queue("restreamer", restream_commands.RestreamCommand, readers=("gateway",)),
    _work_queue(
        "notifier", notifications.NotificationTell, notifications.NotificationSend, notifications.NotificationReplay
    ),
    StreamSpec(
        EVENTS,
        tuple(every(model) for model in (
            live.SessionStarted, live.SessionEnded, live.SessionWarned, live.JobStateChanged, media.HourClosed,
            media.RecordingExpired, clips.ClipStateChanged, clips.ClipProgressed,
            clips.SegmentAccurateReady, clips.FrameAccurateReady,
            exports.ExportStarted, exports.ExportProgressed, exports.ExportDelivered, exports.ExportFailed,
            exports.ExportAborted, restreams.RestreamStateChanged, restreams.RestreamTargetChanged,
            restreams.RestreamFileStarted, restreams.RestreamWarned,
        )),
        "limits", timedelta(days=8), 2 << 30, readers=("notifier",),
    ),
    StreamSpec(
        SEGMENTS, (every(media.SegmentWritten),), "limits", timedelta(hours=48), 4 << 30,
        readers=("gateway", "archiver", "clipper", "restreamer"), pruners=("archiver",),
    ),
    StreamSpec(
        SCHEDULES, ("schedules.>", every(schedules.Due)), "limits", timedelta(0), 1 << 30, max_per_subject=1,
        schedules=True, readers=("scheduler",), pruners=("scheduler",),
    ),
    StreamSpec(
        DEADLETTERS, ("deadletters.>", "failures.>"), "limits", timedelta(days=30), 1 << 30, max_per_subject=1
    ),
)  # fmt: skip


def _work(
    durable: str, service: str, command: type[Message], workers: int = 1, ack_wait: timedelta = timedelta(seconds=30),
    *, max_deliver: int = 8, ordered: bool = False,
) -> ConsumerSpec:  # fmt: skip
    most = 1 if ordered else -1
    return ConsumerSpec(durable, service, commands_of(service), every(command), ack_wait, max_deliver, most, workers)


def _event(durable: str, service: str, event: type[Message], max_deliver: int = 8) -> ConsumerSpec:
    return ConsumerSpec(durable, service, EVENTS, every(event), max_deliver=max_deliver)


def _told(durable: str, domain: str) -> ConsumerSpec:
    """Return the consumer of all events of a domain, in order, for webhooks."""
    return ConsumerSpec(durable, "notifier", EVENTS, f"{domain}.>", timedelta(seconds=10), -1, 1)


CONSUMERS: tuple[ConsumerSpec, ...] = (
    _work(durables.CLIPPER_CREATE, "clipper", clips.ClipCreate, 3),
    _work(durables.CLIPPER_REFINE, "clipper", clips.ClipRefine, max_deliver=5),
    _work(durables.CLIPPER_COPY_LONG, "clipper", clips.ClipCopyLong),
    _work(durables.CLIPPER_REFINE_LONG, "clipper", clips.ClipRefineLong, max_deliver=5),
    _work(durables.CLIPPER_PICTURE, "clipper", clips.ClipPicture),
    _work(durables.CLIPPER_MOMENT, "clipper", pictures.RecordingPicture, 2, max_deliver=3),
    _work(durables.CLIPPER_CANCEL, "clipper", clips.ClipCancel),
    _work(durables.CLIPPER_DELETE, "clipper", clips.ClipDelete),
    _event(durables.CLIPPER_JOBS, "clipper", live.JobStateChanged),
    _event(durables.CLIPPER_SENDING, "clipper", exports.ExportStarted),
    _event(durables.CLIPPER_DELIVERED, "clipper", exports.ExportDelivered),
    _event(durables.CLIPPER_UNDELIVERED, "clipper", exports.ExportFailed),
    _event(durables.CLIPPER_ABORTED, "clipper", exports.ExportAborted),
    _work(durables.EXPORTER_DELIVER, "exporter", exports.ExportDeliver, 16, max_deliver=10),
    _work(durables.EXPORTER_ABORT, "exporter", exports.ExportAbort),
    _work(durables.EXPORTER_TEST, "exporter", exports.CredentialTest, 4, max_deliver=3),
    _work(durables.EXPORTER_DELETE, "exporter", exports.LibraryDelete),
    _work(durables.GATEWAY_FINISH, "gateway", live.LiveFinish),
    _event(durables.GATEWAY_STARTED, "gateway", live.SessionStarted),
    _event(durables.GATEWAY_ENDED, "gateway", live.SessionEnded),
    _event(durables.GATEWAY_JOBS, "gateway", live.JobStateChanged, max_deliver=50),
    _event(durables.SCHEDULER_STARTED, "scheduler", live.SessionStarted),
    _event(durables.SCHEDULER_ENDED, "scheduler", live.SessionEnded),
    _event(durables.SCHEDULER_JOBS, "scheduler", live.JobStateChanged),
    ConsumerSpec(durables.SCHEDULER_DUE, "scheduler", SCHEDULES, every(schedules.Due), max_deliver=50),
    ConsumerSpec(
        durables.ARCHIVER_SEGMENTS, "archiver", SEGMENTS, every(media.SegmentWritten), max_deliver=50, workers=2
    ),
    _event(durables.ARCHIVER_JOBS, "archiver", live.JobStateChanged, max_deliver=50),
    _work(durables.ARCHIVER_SWEEP, "archiver", media.RecordingsSweep),
    _work(durables.ARCHIVER_DELETE, "archiver", media.RecordingDelete, max_deliver=50),
    _work(durables.ARCHIVER_REBUILD, "archiver", media.RecordingRebuild),
    _work(
        durables.RESTREAMER_COMMAND, "restreamer", restream_commands.RestreamCommand, 16, timedelta(seconds=10),
        ordered=True,
    ),
    _told(durables.NOTIFIER_CLIPS, "clips"),
    _told(durables.NOTIFIER_LIVE, "live"),
    _told(durables.NOTIFIER_EXPORTS, "exports"),
    _told(durables.NOTIFIER_RECORDINGS, "recordings"),
    _told(durables.NOTIFIER_RESTREAMS, "restreams"),
    _work(
        durables.NOTIFIER_TELL, "notifier", notifications.NotificationTell, 64, timedelta(seconds=10), max_deliver=10,
        ordered=True,
    ),
    _work(durables.NOTIFIER_SEND, "notifier", notifications.NotificationSend, 256, max_deliver=-1),
    _work(durables.NOTIFIER_REPLAY, "notifier", notifications.NotificationReplay),
)  # fmt: skip

BUCKETS: tuple[BucketSpec, ...] = (
    BucketSpec(buckets.JOBS, "gateway", readers=("ingester", "archiver", "clipper", "scheduler", "restreamer")),
    BucketSpec(buckets.KEYS, "gateway", readers=("ingester",)),
    BucketSpec(buckets.CREDENTIALS, "gateway", readers=("exporter", "restreamer", "notifier")),
    BucketSpec(buckets.WEBHOOKS, "gateway", readers=("notifier",)),
    BucketSpec(buckets.NONCES, "gateway"),
    BucketSpec(buckets.CONTEXTS, "gateway", readers=("notifier",)),
    BucketSpec(buckets.ALIASES, "gateway"),
    BucketSpec(buckets.MEDIA_SERVERS, "gateway"),
    BucketSpec(buckets.LOCKS, "gateway", readers=("archiver",)),
    BucketSpec(
        buckets.SESSIONS, "ingester", readers=("gateway", "archiver", "clipper", "restreamer"), removers=("archiver",)
    ),
    BucketSpec(buckets.LEASES, "ingester", ttl=timedelta(seconds=15)),
    BucketSpec(buckets.RECORDINGS, "archiver", readers=("gateway", "clipper", "restreamer")),
    BucketSpec(buckets.CLIPS, "clipper", readers=("gateway", "restreamer")),
    BucketSpec(buckets.CLIP_RANGES, "clipper", ttl=clips.RANGE_LIFE, readers=("archiver", "gateway")),
    BucketSpec(buckets.PICTURES, "clipper", ttl=pictures.PICTURE_LIFE, readers=("gateway",)),
    BucketSpec(buckets.EXPORTS, "exporter", ttl=timedelta(days=30), readers=("gateway",)),
    BucketSpec(buckets.CREDENTIAL_TESTS, "exporter", ttl=timedelta(hours=1), readers=("gateway",)),
    BucketSpec(buckets.RESTREAMS, "restreamer", readers=("gateway",)),
    BucketSpec(buckets.PLAYOUTS, "restreamer", ttl=timedelta(hours=72), readers=("gateway",)),
    BucketSpec(buckets.DELIVERIES, "notifier", ttl=timedelta(days=30), readers=("gateway",)),
    BucketSpec(buckets.SCHEDULES, "scheduler"),
)


def consumer(durable: str) -> ConsumerSpec:
    """Return the consumer with a durable name; raise KeyError when there is none."""
    for spec in CONSUMERS:
        if spec.durable == durable:
            return spec
    raise KeyError(durable)


def consumers_of(service: str) -> tuple[ConsumerSpec, ...]:
    """Return the consumers that a service runs."""
    return tuple(spec for spec in CONSUMERS if spec.service == service)
