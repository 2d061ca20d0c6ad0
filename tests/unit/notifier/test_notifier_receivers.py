"""Who is told of what, in which lane, and what they read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from scripts.contracts_gen import CONTRACTS
from services.notifier.events import Happening, read_event
from services.notifier.forms import FORMS
from services.notifier.forms.standard import MOST_GAPS, encode, payload
from services.notifier.receivers import Receiver, chosen, receivers_of
from shared.broker.subjects import CHANNELS, Channel, subject_of
from shared.errors import Permanent
from shared.messages.base import Notification
from shared.messages.clips import ClipDelivery, ClipEvent, ClipFile, ClipStateChanged, SegmentAccurateReady
from shared.messages.exports import (
    ExportAborted,
    ExportDelivered,
    ExportFailed,
    ExportMessage,
    ExportProgressed,
    ExportStarted,
)
from shared.messages.live import SessionStarted
from shared.messages.media import HourClosed
from shared.messages.notifications import WebhookEndpoint
from shared.messages.ranges import Gap

CLIP, EVENT, FIRST, SECOND = "c" * 32, "e" * 32, "1" * 32, "2" * 32
URL = "https://example.com/hook?token=1"
FILE = ClipFile(
    accuracy="segment", method="copy", key=f"clips/main/{CLIP}/segment.mp4", bytes=9, in_point=Fraction(1, 3),
    out_point=Fraction(31, 3), duration=Fraction(10), frames=300,
)  # fmt: skip


def endpoint(name: str = FIRST, **fields: Any) -> WebhookEndpoint:
    return WebhookEndpoint(**{"account": "main", "endpoint": name, "url": URL, "secret": "-", "created_ms": 0} | fields)


def state(value: str = "processing", revision: int = 1, **fields: Any) -> Happening:
    event = ClipStateChanged(
        account="main", clip=CLIP, event=EVENT, state=value, at_ms=1_700_000_000_123, revision=revision, **fields
    )
    return Happening(event, 7, event.at_ms)


def ready(**fields: Any) -> Happening:
    event = SegmentAccurateReady(
        account="main", clip=CLIP, event=EVENT, state="processing", at_ms=1_700_000_000_123, file=FILE, **fields
    )
    return Happening(event, 8, event.at_ms)


@pytest.mark.parametrize(
    ("patterns", "is_chosen"),
    [
        (("*",), True),
        (("clips.*",), True),
        (("clips.state_changed",), True),
        (("clips.sta*",), True),
        (("live.*", "clips.state_changed"), True),
        (("clips.state",), False),
        (("clips.state_changed.more",), False),
        (("live.*",), False),
        ((), False),
    ],
)
def test_endpoints_choose_by_name_or_prefix(patterns: tuple[str, ...], is_chosen: bool) -> None:
    assert chosen(patterns, "clips.state_changed") is is_chosen
    assert bool(receivers_of(state(), [endpoint(events=patterns)])) is is_chosen


def test_a_disabled_endpoint_is_told_nothing() -> None:
    assert receivers_of(state(), [endpoint(enabled=False)]) == []


@pytest.mark.parametrize(
    ("happening", "told"),
    [
        (state("waiting"), {"state_changed"}),
        (state("processing"), {"state_changed"}),
        (state("finished"), {"state_changed", "output_finished"}),
        (state("cancelled"), {"state_changed", "output_finished"}),
        (state("failed"), {"state_changed", "output_finished"}),
        (state("error"), {"state_changed", "output_finished"}),
        (ready(), {"first_segment_uploaded"}),
    ],
)
def test_one_off_receivers_are_told_what_they_asked_for(happening: Happening, told: set[str]) -> None:
    wishes = tuple(
        Notification(url=URL, event=e) for e in ("first_segment_uploaded", "output_finished", "state_changed")
    )
    event = happening.event.model_copy(update={"notifications": (*wishes, *wishes)})
    found = receivers_of(Happening(event, 1, 0), [])
    assert {r.notify for r in found} == told
    assert len(found) == len(told)  # named twice, told once


def test_lanes_part_receivers_and_clips_and_deliveries_part_events() -> None:
    one, other, once = (
        Receiver(URL, endpoint=FIRST),
        Receiver(URL, endpoint=SECOND),
        Receiver(URL, notify="state_changed"),
    )
    a, b = state(revision=1), state(revision=2)
    assert one.lane(a) == one.lane(b) == one.lane(ready())
    assert len({one.lane(a), other.lane(a), once.lane(a)}) == 3
    moved = Receiver("https://elsewhere.example/", endpoint=FIRST)
    assert moved.lane(a) == one.lane(a)  # an endpoint whose URL was changed is the same endpoint
    assert len({one.delivery(a), one.delivery(b), other.delivery(a), once.delivery(a)}) == 4
    assert one.delivery(a) == one.delivery(Happening(a.event, 99, 5))  # published again


@pytest.mark.parametrize(
    ("model", "more"),
    [
        (ExportStarted, {"bytes": 1}),
        (ExportProgressed, {"sent": 1, "bytes": 2}),
        (ExportDelivered, {"location": "x", "bytes": 1}),
        (ExportFailed, {"error": "530"}),
        (ExportAborted, {}),
    ],
)
def test_an_export_belongs_to_its_clip_s_story(model: type[ExportMessage], more: dict[str, Any]) -> None:
    asked = {"account": "main", "export": "f" * 32, "clip": CLIP, "accuracy": "frame", "at_ms": 1}
    event = model.model_validate(asked | more)
    assert payload(Happening(event, 1, 1), None, "")["data"] == asked | more
    receiver = Receiver(URL, endpoint=FIRST)
    assert receiver.lane(Happening(event, 1, 1)) == receiver.lane(state())


def test_an_endpoint_reads_type_timestamp_and_data_and_nothing_private() -> None:
    happening = ready(notifications=(Notification(url="https://secret.example/"),))
    body = payload(happening, None, "http://reelay")
    assert list(body) == ["type", "timestamp", "data"]
    assert (body["type"], body["timestamp"]) == ("clips.segment_accurate.ready", "2023-11-14T22:13:20.123Z")
    assert (body["data"]["clip"], body["data"]["file"]["in_point"]) == (CLIP, "1/3")
    assert b"secret.example" not in encode(body)
    assert b"clips/main" not in encode(body)


def test_a_one_off_receiver_reads_the_clip_as_the_api_names_it_too() -> None:
    body = payload(ready(label="goal"), "first_segment_uploaded", "http://reelay")
    assert body["data"]["clip"] == CLIP
    assert {k: body[k] for k in ("event", "jvod_id", "job_id", "label", "jvod_state", "jvod_type", "accuracy")} == {
        "event": "first_segment_uploaded", "jvod_id": CLIP, "job_id": EVENT, "label": "goal",
        "jvod_state": "processing", "jvod_type": "library", "accuracy": "segment",
    }  # fmt: skip
    assert body["jvod_url"] == f"http://reelay/v1/vods/{CLIP}/media.mp4"
    assert body["jvod_reported_duration_s"] == 10
    assert payload(state("waiting"), "state_changed", "")["jvod_url"] is None


LIBRARY = ClipDelivery(export=CLIP, state="delivered", accuracy="frame", location=f"library/main/goal-{CLIP}.mp4")
BUCKET = ClipDelivery(export=FIRST, type="s3", shown="s3://cup/goal.mp4")
CLOUD = ClipDelivery(export=SECOND, type="videocloud", shown="videocloud:7", location="videocloud://7/5")
MEDIA = f"http://reelay/v1/vods/{CLIP}/media.mp4"


@pytest.mark.parametrize(
    ("deliveries", "kind", "ours", "theirs"),
    [
        ((LIBRARY,), "library", MEDIA, MEDIA),
        ((LIBRARY, BUCKET), "library", MEDIA, MEDIA),
        ((BUCKET, LIBRARY), "s3", BUCKET.shown, BUCKET.shown),
        ((CLOUD,), "videocloud", CLOUD.shown, CLOUD.location),
    ],
)
def test_a_receiver_reads_the_url_that_the_api_shows(
    deliveries: tuple[ClipDelivery, ...], kind: str, ours: str, theirs: str
) -> None:
    """Not where the library's file lies in the store, whatever has been delivered."""
    happening = state("finished", file=FILE, deliveries=deliveries)
    body = payload(happening, "output_finished", "http://reelay")
    assert (body["jvod_type"], body["jvod_url"]) == (kind, ours)
    context = {"notify": "output_finished", "server": "http://reelay"}
    assert json.loads(FORMS["brightcove"].body(happening, context, str).posted)["jvod_url"] == theirs


def test_a_body_stays_small() -> None:
    gaps = tuple(Gap(start=Fraction(n), duration=Fraction(1)) for n in range(5000))
    body = payload(state(gaps=gaps), None, "")
    assert len(body["data"]["gaps"]) == MOST_GAPS
    assert len(encode(body)) < 20_000


@pytest.mark.parametrize(
    "event",
    [
        state().event,
        SessionStarted(account="main", event=EVENT, session=FIRST, protocol="rtmp", at_ms=5, origin_ms=0),
        HourClosed(account="main", event=EVENT, hour=1, key="live/x.json", segments=1, bytes=1),
    ],
)
def test_events_are_read_by_their_subject(event: ClipEvent) -> None:
    stored = datetime.fromtimestamp(9, UTC)
    happening = read_event(subject_of(event), event.model_dump(mode="json"), 4, stored)
    assert (happening.event, happening.position) == (event, 4)
    assert happening.at_ms == getattr(event, "at_ms", 9000)


@pytest.mark.parametrize("subject", ["clips.unknown.main.x", "clips.create.main.x", "x", ""])
def test_a_subject_that_is_no_event_is_refused(subject: str) -> None:
    with pytest.raises(Permanent):
        read_event(subject, {}, 1, datetime.fromtimestamp(0, UTC))


@pytest.mark.parametrize("channel", [c for c in CHANNELS if c.kind == "event"], ids=lambda c: c.name)
def test_no_payload_holds_what_is_sealed(channel: Channel) -> None:
    event = channel.model.model_validate_json((CONTRACTS / f"examples/{channel.model.__name__}.json").read_text())
    body = payload(Happening(event, 1, 2), None, "")
    assert "sealed:" not in json.dumps(body)
    assert body["data"]["account"] == event.account
