"""The registry of channels: subject, payload, stream, and which services publish.

The subject of a message is `<channel>.<account>.<id>`; filters never need to look into payloads.
contracts/asyncapi.yaml states the same by hand; tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.broker.streams import EVENTS, SCHEDULES, SEGMENTS, commands_of
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


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of message, its stream and its publishers."""

    model: type[Message]
    kind: Literal["command", "event"]
    stream: str
    publishers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The subject without account and id."""
        return self.model.channel

    @property
    def pattern(self) -> str:
        """The subject with wildcards for account and id."""
        return f"{self.name}.*.*"


CHANNELS: tuple[Channel, ...] = (
    Channel(clips.ClipCreate, "command", commands_of("clipper"), ("gateway", "scheduler")),
    Channel(clips.ClipRefine, "command", commands_of("clipper"), ("clipper",)),
    Channel(clips.ClipCopyLong, "command", commands_of("clipper"), ("clipper",)),
    Channel(clips.ClipRefineLong, "command", commands_of("clipper"), ("clipper",)),
    Channel(clips.ClipPicture, "command", commands_of("clipper"), ("clipper",)),
    Channel(clips.ClipCancel, "command", commands_of("clipper"), ("gateway",)),
    Channel(clips.ClipDelete, "command", commands_of("clipper"), ("gateway",)),
    Channel(pictures.RecordingPicture, "command", commands_of("clipper"), ("gateway",)),
    Channel(exports.ExportDeliver, "command", commands_of("exporter"), ("clipper",)),
    Channel(exports.ExportAbort, "command", commands_of("exporter"), ("clipper", "gateway")),
    Channel(exports.CredentialTest, "command", commands_of("exporter"), ("gateway",)),
    Channel(exports.LibraryDelete, "command", commands_of("exporter"), ("gateway",)),
    Channel(live.LiveFinish, "command", commands_of("gateway"), ("scheduler", "gateway")),
    Channel(media.RecordingsSweep, "command", commands_of("archiver"), ("scheduler",)),
    Channel(media.RecordingDelete, "command", commands_of("archiver"), ("gateway",)),
    Channel(media.RecordingRebuild, "command", commands_of("archiver"), ("gateway", "clipper", "restreamer")),
    Channel(notifications.NotificationTell, "command", commands_of("notifier"), ("notifier",)),
    Channel(notifications.NotificationSend, "command", commands_of("notifier"), ("notifier", "scheduler")),
    Channel(notifications.NotificationReplay, "command", commands_of("notifier"), ("gateway",)),
    Channel(restream_commands.RestreamCommand, "command", commands_of("restreamer"), ("gateway", "scheduler")),
    Channel(media.SegmentWritten, "event", SEGMENTS, ("ingester",)),
    Channel(media.HourClosed, "event", EVENTS, ("archiver",)),
    Channel(media.RecordingExpired, "event", EVENTS, ("archiver",)),
    Channel(live.SessionStarted, "event", EVENTS, ("ingester",)),
    Channel(live.SessionEnded, "event", EVENTS, ("ingester",)),
    Channel(live.SessionWarned, "event", EVENTS, ("ingester",)),
    Channel(live.JobStateChanged, "event", EVENTS, ("gateway",)),
    Channel(clips.ClipStateChanged, "event", EVENTS, ("clipper",)),
    Channel(clips.ClipProgressed, "event", EVENTS, ("clipper",)),
    Channel(clips.SegmentAccurateReady, "event", EVENTS, ("clipper",)),
    Channel(clips.FrameAccurateReady, "event", EVENTS, ("clipper",)),
    Channel(exports.ExportStarted, "event", EVENTS, ("exporter",)),
    Channel(exports.ExportProgressed, "event", EVENTS, ("exporter",)),
    Channel(exports.ExportDelivered, "event", EVENTS, ("exporter",)),
    Channel(exports.ExportFailed, "event", EVENTS, ("exporter",)),
    Channel(exports.ExportAborted, "event", EVENTS, ("exporter",)),
    Channel(restreams.RestreamStateChanged, "event", EVENTS, ("restreamer",)),
    Channel(restreams.RestreamTargetChanged, "event", EVENTS, ("restreamer",)),
    Channel(restreams.RestreamFileStarted, "event", EVENTS, ("restreamer",)),
    Channel(restreams.RestreamWarned, "event", EVENTS, ("restreamer",)),
    Channel(schedules.Due, "event", SCHEDULES, ("gateway", "scheduler", "clipper", "notifier", "restreamer")),
)
BY_MODEL: dict[type[Message], Channel] = {channel.model: channel for channel in CHANNELS}
BY_NAME: dict[str, Channel] = {channel.name: channel for channel in CHANNELS}


def channel_of(message: Message | type[Message]) -> Channel:
    """Return the channel of a message or of its class; raise KeyError when it has none."""
    return BY_MODEL[message if isinstance(message, type) else type(message)]


def subject_of(message: Message) -> str:
    """Return the subject that a message is published to."""
    return f"{message.channel}.{message.account}.{message.subject_id}"


def schedule_subject(account: str, name: str) -> str:
    """Return the subject under which a schedule is set, moved (publish again) and cancelled (purge)."""
    return f"schedules.{account}.{name}"


def segments_subject(account: str, event: str) -> str:
    """Return the subject of one event's segments."""
    return f"{media.SegmentWritten.channel}.{account}.{event}"


def dead_letter_subject(durable: str, sequence: int | Literal["*"]) -> str:
    """Return the subject of a dead letter: the consumer that gave up, and the message's sequence in its stream."""
    return f"deadletters.{durable}.{sequence}"


def failure_subject(durable: str, sequence: int | Literal["*"]) -> str:
    """Return the subject under which the failed tries of one message are remembered."""
    return f"failures.{durable}.{sequence}"


def inbox_prefix(user: str) -> str:
    """Return the prefix of the subjects on which a user of the broker gets its answers."""
    return f"_INBOX_{user}"


def holder_subject(token: str) -> str:
    """Return the subject on which an ingester is asked whether it holds a lease; only ingesters may use it."""
    return f"{inbox_prefix('ingester')}.holder.{token}"


def pull_inbox(user: str) -> bytes:
    """Return the inbox prefix of a pull consumer's messages, as bytes for nats-py's subscriptions."""
    return f"{inbox_prefix(user)}.".encode()
