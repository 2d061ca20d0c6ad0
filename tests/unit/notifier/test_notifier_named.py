"""Who an event names besides the account's endpoints, of what, and in which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.notifier.events import Happening, read_event
from services.notifier.forms import FORMS
from services.notifier.forms.standard import payload
from services.notifier.named import happened, named_in, naming
from shared.messages.base import Message, Notification
from shared.messages.live import JobStateChanged
from shared.messages.outputs import OutputOf
from shared.messages.restreams import RestreamEvent, RestreamStateChanged, RestreamTargetChanged, Target, TargetStatus

JOB, OUT = "1" * 32, "2" * 32
TOLD = (Notification(url="https://example.com/x", event="rtmp_output_state_changed", form="brightcove"),)
ABOUT: dict[str, Any] = {
    "account": "main", "restream": OUT, "run": 1, "number": 1, "at_ms": 5,
    "output": OutputOf(job=JOB, notifications=TOLD),
}  # fmt: skip
TARGET = Target(target="0" * 16, url="sealed:x", shown="rtmp://example.com/live/***")


def target(state: str, *, again: bool = False) -> RestreamTargetChanged:
    status = TargetStatus.model_validate({"target": "0" * 16, "shown": "x", "state": state, "since_ms": 1})
    return RestreamTargetChanged(**ABOUT, status=status, target=TARGET, again=again)


def run(state: str) -> RestreamStateChanged:
    return RestreamStateChanged.model_validate({**ABOUT, "state": state})


OUTPUTS: list[tuple[RestreamEvent, str | None]] = [
    (run("starting"), "starting"),
    (run("playing"), None),
    (run("ended"), "finished"),
    (run("stopped"), "finished"),
    (run("failed"), "error"),
    (target("connecting"), None),
    (target("live"), "connected"),
    (target("waiting"), None),
    (target("waiting", again=True), "disconnected"),
    (target("failed"), "error"),
    (target("removed", again=True), None),
]


@pytest.mark.parametrize(("event", "state"), OUTPUTS)
def test_what_is_told_of_an_output(event: RestreamEvent, state: str | None) -> None:
    assert happened(event) == ({"rtmp_output_state_changed"} if state else set())
    assert happened(event.model_copy(update={"output": None})) == set()
    assert named_in(event) == TOLD
    if state is None:
        return
    happening = Happening(event, 1, 5)
    form, context = FORMS["brightcove"], {"notify": "rtmp_output_state_changed", "server": "https://here"}
    assert form.applies(happening, context)
    assert json.loads(form.body(happening, context, str).posted) == {
        "event": "rtmp_output_state_changed", "account_id": "main", "job_id": JOB, "rtmp_out_id": OUT, "state": state,
        "timestamp": 5,
    }  # fmt: skip
    ours = payload(happening, "rtmp_output_state_changed", "")
    assert (ours["event"], ours["job_id"], ours["rtmp_out_id"], ours["state"]) == (
        "rtmp_output_state_changed", JOB, OUT, state,
    )  # fmt: skip
    assert "example.com/x" not in json.dumps(ours)


JOBS = [
    ("standby", None, {"state_changed"}),
    ("processing", "standby", {"state_changed", "first_segment_uploaded"}),
    ("processing", "waiting", {"state_changed", "first_segment_uploaded"}),
    ("processing", "disconnected", {"state_changed"}),
    ("finished", "finishing", {"state_changed"}),
]


@pytest.mark.parametrize(("state", "previous", "names"), JOBS)
def test_what_is_told_of_a_job(state: str, previous: str | None, names: set[str]) -> None:
    told = [{"url": "https://example.com/y"}]
    event = JobStateChanged.model_validate(
        {"account": "main", "event": JOB, "state": state, "previous": previous, "at_ms": 5, "revision": 1,
         "sep_state": "ready", "notifications": told}
    )  # fmt: skip
    assert happened(event) == names
    assert [one.url for one in named_in(event)] == ["https://example.com/y"]
    ours = payload(Happening(event, 1, 5), "state_changed", "")
    assert (ours["event"], ours["job_id"], ours["state"], ours["sep_state"]) == ("state_changed", JOB, state, "ready")
    assert "example.com" not in json.dumps(ours)


@pytest.mark.parametrize("event", [target("live"), run("ended")])
def test_the_receivers_of_an_event_can_be_replaced(event: Message) -> None:
    other = (Notification(url="https://example.com/z"),)
    assert named_in(naming(event, other)) == other
    same = read_event(f"{event.channel}.main.{OUT}", event.model_dump(mode="json"), 1, datetime.now(UTC))
    assert named_in(same.event) == TOLD
