"""Which part of a recording an output asks for."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.gateway.domain.clips.window import ClipRange, Recording, TimecodeRange, Window, resolve
from services.gateway.domain.errors import Invalid
from services.gateway.http.selectors import range_of
from services.gateway.native.clips.models import Output

CREATED = 1_700_000_000_250
FIRST = CREATED + 10_000
NOW = FIRST + 600_000
LIVE = Recording(CREATED, FIRST, NOW, Fraction(600), live=True)
ENDED = Recording(CREATED, FIRST, NOW, Fraction(600), live=False, publishes=False)
EPOCH = FIRST // 1000


def window(recording: Recording = LIVE, **fields: Any) -> Window:
    return resolve(clock_range(Output.model_validate(fields)), recording)


def clock_range(output: Output) -> ClipRange:
    found = range_of(output)
    assert isinstance(found, ClipRange)
    return found


def refused(recording: Recording = LIVE, **fields: Any) -> str:
    with pytest.raises(Invalid) as caught:
        window(recording, **fields)
    return caught.value.faults[0].field


@pytest.mark.parametrize(
    ("fields", "clock", "start", "end"),
    [
        ({"stream_start_time": 4, "stream_end_time": 14}, "stream", 4, 14),
        ({"stream_start_time": "4", "stream_end_time": "14.5"}, "stream", 4, Fraction(29, 2)),
        ({"stream_start_time": 300, "duration": 60}, "stream", 300, 360),
        ({"stream_end_time": 360, "duration": 60}, "stream", 300, 360),
        ({"start_time": EPOCH + 10, "end_time": EPOCH + 20}, "wall", EPOCH + 10, EPOCH + 20),
        ({"start_time": str(EPOCH + 10), "duration": "10"}, "wall", EPOCH + 10, EPOCH + 20),
        ({"end_time": EPOCH + 20, "duration": 10}, "wall", EPOCH + 10, EPOCH + 20),
        ({"duration": 60}, "wall", Fraction(NOW, 1000) - 60, Fraction(NOW, 1000)),
    ],
)
def test_each_combination_of_the_vendor_gives_its_range(
    fields: dict[str, Any], clock: str, start: Fraction, end: Fraction
) -> None:
    for recording in (LIVE, ENDED):
        if recording is ENDED and fields == {"duration": 60}:
            clock, start, end = "stream", Fraction(540), Fraction(600)
        found = window(recording, **fields)
        assert (found.selection.clock, found.selection.start, found.selection.end) == (clock, start, end)
        assert found.asked_duration == end - start
        assert not found.wait


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "duration"),
        ({"duration": 0}, "duration"),
        ({"duration": -1}, "duration"),
        ({"stream_start_time": 1, "duration": 0}, "duration"),
        ({"duration": "0.009"}, "duration"),
        ({"stream_start_time": 1, "duration": "0.000001"}, "duration"),
        ({"stream_start_time": 4, "stream_end_time": "4.009"}, "stream_end_time"),
        ({"stream_end_time": "0.009", "duration": 4}, "stream_end_time"),
        ({"start_time": EPOCH + 10, "end_time": str(EPOCH + 10) + ".001"}, "end_time"),
        ({"stream_start_time": 14, "stream_end_time": 4}, "stream_end_time"),
        ({"stream_start_time": 4, "stream_end_time": 4}, "stream_end_time"),
        ({"stream_start_time": -1, "stream_end_time": 4}, "stream_start_time"),
        ({"stream_end_time": 0, "duration": 4}, "stream_end_time"),
        ({"stream_start_time": 4}, "stream_end_time"),
        ({"stream_end_time": 4}, "stream_start_time"),
        ({"start_time": EPOCH + 1}, "end_time"),
        ({"end_time": EPOCH + 1}, "start_time"),
        ({"stream_start_time": 4, "stream_end_time": 9, "duration": 5}, "duration"),
        ({"stream_start_time": 4, "end_time": EPOCH + 9}, "end_time"),
        ({"start_time": EPOCH, "stream_end_time": 9}, "start_time"),
        ({"start_time": EPOCH, "end_time": EPOCH + 5, "stream_end_time": 9, "stream_start_time": 1}, "end_time"),
        ({"duration": 48 * 3600 + 1}, "duration"),
        ({"stream_start_time": 0, "stream_end_time": 48 * 3600 + 1}, "stream_end_time"),
        ({"stream_start_time": 600, "duration": 10}, "stream_start_time"),
        ({"stream_start_time": 700, "stream_end_time": 800}, "stream_start_time"),
        ({"start_time": NOW // 1000 + 100, "duration": 10}, "start_time"),
        ({"end_time": NOW // 1000 + 100, "duration": 10}, "end_time"),
        ({"start_time": EPOCH, "end_time": NOW // 1000 + 2}, "end_time"),
        ({"start_time": CREATED // 1000 - 1, "end_time": EPOCH + 5}, "start_time"),
        ({"start_time": CREATED // 1000, "end_time": FIRST // 1000 - 1}, "end_time"),
        ({"end_time": EPOCH - 1, "duration": 4}, "end_time"),
    ],
)
def test_a_range_that_cannot_be_served_names_its_field(fields: dict[str, Any], field: str) -> None:
    assert refused(LIVE, **fields) == field
    assert refused(ENDED, **fields) == field


def test_a_duration_goes_with_the_point_that_is_named() -> None:
    """Ten seconds from or up to a moment are ten seconds of frames, though dates may step in between."""
    assert window(start_time=EPOCH + 10, duration=10).selection.held == "start"
    assert window(end_time=EPOCH + 20, duration=10).selection.held == "end"
    assert window(duration=10).selection.held == "end"
    assert window(start_time=EPOCH + 10, end_time=EPOCH + 20).selection.held == "both"


def test_what_lies_recorded_counts_and_not_what_the_wall_clock_says() -> None:
    """A minute sent in six seconds; an encoder whose clock lost 20 s in six hours."""
    burst = Recording(CREATED, FIRST, FIRST + 6000, Fraction(60), live=True)
    assert window(burst, stream_start_time=20, stream_end_time=50).selection.end == 50
    assert refused(burst, stream_start_time=60, duration=5) == "stream_start_time"
    slow = Recording(CREATED, FIRST, FIRST + 21_600_000, Fraction(21_580), live=False, publishes=False)
    last = window(slow, duration=10).selection
    assert (last.clock, last.start, last.end) == ("stream", 21_570, 21_580)
    assert refused(slow, stream_start_time=21_581, duration=5) == "stream_start_time"
    fast = Recording(CREATED, FIRST, FIRST + 21_600_000, Fraction(21_620), live=False, publishes=False)
    assert window(fast, stream_start_time=21_610, duration=5).selection.end == 21_615


def test_more_than_there_is_gives_all_there_is() -> None:
    short = Recording(CREATED, FIRST, FIRST + 300_000, Fraction(300), live=False, publishes=False)
    found = window(short, duration=350)
    assert (found.selection.start, found.selection.end, found.asked_duration) == (0, 300, 350)


def test_what_reaches_beyond_the_recording_is_not_padded_but_taken() -> None:
    assert window(stream_start_time=0, duration=5000).selection.end == 5000
    assert window(stream_end_time=5, duration=10).selection.start == 0
    assert window(duration=5000).asked_duration == 5000


def test_less_than_a_frame_is_taken_when_it_is_no_slip() -> None:
    assert window(stream_start_time="4.001", duration="0.01").asked_duration == Fraction(1, 100)


def test_a_future_end_is_waited_for_only_while_live() -> None:
    assert window(stream_start_time=590, duration=60, wait=True).wait
    assert window(stream_start_time=700, duration=60, wait=True).wait
    assert window(start_time=EPOCH, end_time=NOW // 1000 + 100, wait=True).wait
    assert not window(stream_start_time=5, duration=60, wait=True).wait
    assert not window(ENDED, stream_start_time=590, duration=60, wait=True).wait
    assert refused(ENDED, stream_start_time=700, duration=60, wait=True) == "stream_start_time"


def test_a_wait_is_at_most_a_week() -> None:
    with pytest.raises(Invalid, match="7 days"):
        window(stream_start_time=8 * 86_400, duration=60, wait=True)


@pytest.mark.parametrize(
    "value", ["NaN", "inf", "-Infinity", "1e3", "1_000", "0x10", "", " ", "1/3", "四", True, [], {}]
)
@pytest.mark.parametrize("field", ["duration", "start_time", "stream_end_time"])
def test_only_plain_decimal_numbers_are_numbers(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Output.model_validate({field: value})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1101815, "must be a text HH:MM:SS:FF"),
        (True, "must be a text HH:MM:SS:FF"),
        ("", "is not a timecode"),
        ("01:10:18", "is not a timecode"),
        ("24:00:00:00", "hours run from 0 to 23"),
        ("01:60:00:00", "minutes run from 0 to 59"),
        ("01:10:00:200", "frames run from 0 to 119"),
        ("00:01:00;00", "left out by drop frame"),
    ],
)
def test_what_is_no_timecode_is_said(value: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Output.model_validate({"stream_start_timecode": value, "duration": 5})


def test_timecodes_are_a_range_of_their_own() -> None:
    asked = {"stream_start_timecode": "00:10:00;00", "stream_end_timecode": "00:10:05.02", "wait": True}
    found = range_of(Output.model_validate(asked))
    assert isinstance(found, TimecodeRange)
    assert (str(found.start), str(found.end), found.duration, found.wait) == ("00:10:00;00", "00:10:05:02", None, True)
    with pytest.raises(Invalid, match="cannot be mixed"):
        range_of(Output.model_validate({"stream_start_timecode": "00:10:00:00", "stream_end_time": 5}))


numbers = st.none() | st.decimals(-10, 10**12, places=6, allow_nan=False) | st.integers(-5, 2_000_000_000).map(str)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        dict.fromkeys(("stream_start_time", "stream_end_time", "start_time", "end_time", "duration"), numbers)
    ),
    st.booleans(),
    st.sampled_from([LIVE, ENDED]),
)
def test_whatever_is_asked_gives_a_sound_range_or_names_a_field(
    fields: dict[str, Any], wait: bool, recording: Recording
) -> None:
    output = Output.model_validate({**fields, "wait": wait})
    field, found = None, None
    try:
        found = resolve(clock_range(output), recording)
    except Invalid as error:
        field = error.faults[0].field
    assert (found is None) == (field in fields)
    if found is None:
        return
    assert Fraction(1, 100) <= found.asked_duration <= 48 * 3600
    assert found.selection.end - found.selection.start >= Fraction(1, 100)
    last = recording.stream_end if found.selection.clock == "stream" else Fraction(recording.end_ms, 1000)
    assert found.wait or found.selection.start < last
    assert not (found.wait and not recording.live)
