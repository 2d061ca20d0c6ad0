"""Event sinks of the streamer API: arrays of one event, in one order for all exports, until a 200."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from services.notifier.app import build
from shared.messages.clips import ClipStateChanged, FacadeNote
from shared.messages.notifications import WebhookEndpoint
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Reply, webhook_receiver
from tests.support.webhook_stack import QUICK, Desk, desk, running, settings_for

FORM = "flussonic"


def note(name: str) -> FacadeNote:
    ident = str(uuid.uuid4())
    job = {
        "id": ident, "name": name, "from": 1_730_205_876_000, "duration": 4000, "path": "s3://bucket/a.mp4",
        "trace_id": "trace-1",
    }  # fmt: skip
    return FacadeNote(facade=FORM, document=job)


async def sink(of: Desk, url: str, **options: Any) -> WebhookEndpoint:
    endpoint, _ = await of.endpoint(url, "clips.state_changed")
    await of.change(endpoint, form=FORM, options=options)
    return endpoint


def exported(of: Desk, one: tuple[str, FacadeNote], two: tuple[str, FacadeNote]) -> list[ClipStateChanged]:
    """Return the events of two exports, a cancelled one, and a clip that no facade ordered."""
    file = {"accuracy": "frame", "method": "copy", "key": "clips/a/b.mp4", "bytes": 77, "in_point": "0",
            "out_point": "4", "duration": "4", "frames": 100}  # fmt: skip
    return [
        of.state(one[0], 0, "waiting", note=one[1]),  # told by no event
        of.state(one[0], 1, note=one[1]),
        of.state(two[0], 0, note=two[1]),
        of.state(one[0], 2, "finished", note=one[1], file=file),
        of.state(two[0], 1, "failed", note=two[1], error="disk full"),
        of.state(uuid.uuid4().hex, 0, "cancelled", note=one[1]),
        of.state(uuid.uuid4().hex, 0),  # a clip that no facade ordered
    ]


async def test_events_of_all_exports_go_one_after_the_other_until_a_200(nats: NatsServer, tmp_path: Path) -> None:
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings_for(nats, tmp_path)),
    ):
        await sink(of, receiver.url(), extra={"site": "north"})
        receiver.script = [Reply(204), Reply(410)]
        clips = [(uuid.uuid4().hex, note(name)) for name in ("cam/1", "cam/2")]
        published = exported(of, *clips)
        for event in published:
            await of.publish(event)
            await of.publish(event, again=True)
        records = await of.settled(5)
        assert {record.state for record in records} == {"delivered"}
        bodies = [json.loads(request.body) for request in receiver.requests]
        assert all(isinstance(body, list) and len(body) == 1 for body in bodies)
        told = [body[0] for body in bodies]
        assert [(one["event"], one["media"]) for one in told[2:]] == [
            ("dvr_mp4_export_start", "cam/1"), ("dvr_mp4_export_start", "cam/2"), ("dvr_mp4_export_ready", "cam/1"),
            ("dvr_mp4_export_failed", "cam/2"), ("dvr_mp4_export_aborted", "cam/1"),
        ]  # fmt: skip
        assert told[0] == told[1] == told[2], "what was not accepted comes again, before all others"
        assert set(receiver.most_at_once.values()) == {1}
        ids = [one["event_id"] for one in told[2:]]
        assert ids == sorted(set(ids))
        ready, failed, aborted = told[4:]
        job = clips[0][1].document
        assert ready == {
            "event": "dvr_mp4_export_ready", "event_id": ready["event_id"], "utc_ms": published[3].at_ms,
            "server": ready["server"], "media": "cam/1", "trace_id": "trace-1", "export_id": job["id"],
            "id": job["id"], "from": job["from"], "duration": 4000, "path": "s3://bucket/a.mp4", "size": 77,
            "extra": {"site": "north"},
        }  # fmt: skip
        assert ready["server"]
        assert (failed["reason"], aborted["reason"]) == ("disk full", "canceled")


async def test_a_sink_gets_what_passes_its_filters(nats: NatsServer, tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "all": {},
        "name": {"only": [{"event": ["dvr_mp4_export_ready", "dvr_mp4_export_failed"]}]},
        "both": {"only": [{"event": ["*_start"], "media": ["cam*"]}]},
        "neither": {"only": [{"event": ["*"], "media": ["tv*"]}, {"group": ["system_overloaded"]}]},
        "or": {"only": [{"media": ["tv*"]}, {"event": ["dvr_*_ready"]}]},
        "except": {"less": [{"event": ["dvr_mp4_export_*y"]}]},
        "only-except": {"only": [{"media": ["cam/*"]}], "less": [{"event": ["*_start"]}]},
    }
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings_for(nats, tmp_path)),
    ):
        for path, options in cases.items():
            await sink(of, receiver.url(f"/{path}"), **options)
        clip, about = uuid.uuid4().hex, note("cam/1")
        await of.publish(of.state(clip, 0, note=about))
        await of.publish(of.state(clip, 1, "finished", note=about))
        await of.settled(7)
        told = {path: [json.loads(r.body)[0]["event"][15:] for r in receiver.to(f"/{path}")] for path in cases}
        assert told == {
            "all": ["start", "ready"], "name": ["ready"], "both": ["start"], "neither": [], "or": ["ready"],
            "except": ["start"], "only-except": ["ready"],
        }  # fmt: skip
