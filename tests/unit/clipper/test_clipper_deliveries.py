"""A clip's deliveries: how it ends, in whatever order its destinations' events come, and however often."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clipper.state import all_ended, begun, entering, outcome, with_delivery
from shared.messages.base import Accuracy
from shared.messages.clips import ClipCreate, ClipRecord
from shared.messages.destinations import DestinationSpec, export_id
from shared.messages.exports import ExportAborted, ExportDelivered, ExportFailed, ExportMessage, ExportStarted
from shared.messages.ranges import Selection

CLIP = "c" * 32
KINDS = {
    "started": lambda **f: ExportStarted(**f, bytes=1),
    "delivered": lambda **f: ExportDelivered(**f, bytes=1, location=f"at/{f['accuracy']}"),
    "failed": lambda **f: ExportFailed(**f, error="530 not logged in"),
    "aborted": ExportAborted,
}


def clip(destinations: int) -> ClipRecord:
    order = ClipCreate(
        account="main", clip=CLIP, event="e" * 32, requested_ms=0, live=False, asked_duration=Fraction(1),
        selection=Selection(clock="stream", start=Fraction(0), end=Fraction(1)),
        destinations=tuple(
            DestinationSpec(
                export=export_id(CLIP, n), type="ftp" if n else "library", file_name="a.mp4",
                shown=f"ftp://host{n}/a.mp4" if n else "",
            )
            for n in range(destinations)
        ),
    )  # fmt: skip
    return begun(order, "processing", 0)


def said(text: str, at_ms: int) -> ExportMessage:
    """`1 delivered frame`: what happened to the exact file at the second destination."""
    position, kind, accuracy = text.split()
    made: ExportMessage = KINDS[kind](
        account="main", clip=CLIP, export=export_id(CLIP, int(position)), accuracy=accuracy, at_ms=at_ms
    )
    return made


def after(record: ClipRecord, event: ExportMessage) -> ClipRecord:
    """As the clipper does with an event."""
    record = with_delivery(event)(record) or record  # type: ignore[arg-type]
    if end := outcome(record):
        record = entering(end[0], 1, end[1])(record) or record
    return record


def whole(position: int, accuracy: Accuracy) -> list[str]:
    return [f"{position} started {accuracy}", f"{position} delivered {accuracy}"]


FINE = [*whole(0, "segment"), *whole(0, "frame"), *whole(1, "segment"), *whole(1, "frame")]
ENDS = {
    "all is well": (FINE, "finished", [("delivered", "frame")] * 2),
    "one refuses both": (
        [*whole(0, "segment"), *whole(0, "frame"), "1 failed segment", "1 failed frame"],
        "failed", [("delivered", "frame"), ("failed", None)],
    ),
    "one takes the fast file alone": (
        [*whole(0, "frame"), *whole(1, "segment"), "1 started frame", "1 failed frame"],
        "failed", [("delivered", "frame"), ("failed", "segment")],
    ),
    "the fast file alone is refused": (
        [*whole(0, "frame"), "1 failed segment", *whole(1, "frame")], "finished", [("delivered", "frame")] * 2,
    ),
    "one is aborted": (
        [*whole(0, "frame"), "1 started segment", "1 aborted segment"],
        "finished", [("delivered", "frame"), ("aborted", None)],
    ),
    "one is aborted that has the fast file": (
        [*whole(0, "frame"), "1 delivered segment", "1 aborted segment"],
        "finished", [("delivered", "frame"), ("aborted", "segment")],
    ),
    "all are aborted": (["0 aborted frame", "1 aborted frame"], "cancelled", [("aborted", None)] * 2),
    "one fails and one is aborted": (
        ["0 aborted frame", "1 failed frame"], "failed", [("aborted", None), ("failed", None)],
    ),
    "an abort came too late": (
        [*whole(0, "frame"), *whole(1, "frame"), "1 aborted frame"], "finished", [("delivered", "frame")] * 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", [name for name in ENDS if name != "an abort came too late"])
@given(random=st.randoms(use_true_random=False))
def test_the_end_is_the_same_in_any_order_and_twice(case: str, random: object) -> None:
    texts, state, lines = ENDS[case]
    events = [said(text, at_ms) for at_ms, text in enumerate(texts, 1)] * 2
    random.shuffle(events)  # type: ignore[attr-defined]
    record = clip(2)
    for event in events:
        record = after(record, event)
    assert record.state == state
    assert [(line.state, line.accuracy) for line in record.deliveries] == lines
    assert all_ended(record)


@pytest.mark.parametrize("case", ENDS)
def test_it_ends_with_the_last_word_and_not_before(case: str) -> None:
    texts, state, lines = ENDS[case]
    record, states = clip(2), []
    for at_ms, text in enumerate(texts, 1):
        record = after(record, said(text, at_ms))
        states.append(record.state)
    assert states[-1] == state
    assert states.count("processing") >= len(states) - 2, "not while a destination may still get the exact file"
    assert [(line.state, line.accuracy) for line in record.deliveries] == lines
    assert record.error == ("not delivered to ftp://host1/a.mp4: 530 not logged in" if state == "failed" else "")


def test_what_is_told_in_between() -> None:
    record, seen = clip(2), []
    for at_ms, text in enumerate(whole(1, "segment") + whole(1, "frame"), 1):
        record = after(record, said(text, at_ms))
        line = record.deliveries[1]
        seen.append((line.state, line.accuracy, line.location))
    assert seen == [
        ("delivering", None, ""), ("delivered", "segment", "at/segment"), ("delivering", "segment", "at/segment"),
        ("delivered", "frame", "at/frame"),
    ]  # fmt: skip
    assert record.deliveries[0].state == "waiting"
    assert record.state == "processing"


def test_an_event_of_another_export_changes_nothing() -> None:
    event = said("1 delivered frame", 1)
    assert with_delivery(event)(clip(1)) is None  # type: ignore[arg-type]
