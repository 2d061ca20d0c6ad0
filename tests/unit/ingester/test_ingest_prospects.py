"""What is given up because nothing of it can be recorded, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.ingester.prospects import HOPELESS, UNDECIDED, hopeful
from services.ingester.publication import Arrival, Batch, Contents, Frame, NothingRecordable, NotMedia
from shared.media.mp4.entries import aac_config
from tests.support.media_recording import SteppedClock

FRAME = Frame(aac_config(bytes.fromhex("1190")), 0, 0, True, b"sound", 1024)
MP3 = Contents(frozenset(), frozenset({"MP3 audio"}))
DATA = Contents(frozenset(), frozenset({"SCTE-35 data"}))
COMING = Contents(frozenset({"video"}), frozenset({"MP3 audio"}))


def batch(contents: Contents, *frames: Frame, size: int = 1000) -> Batch:
    return Batch(Arrival(0, 0), list(frames), contents, size, 0)


def taken(batches: Iterator[Batch]) -> int:
    """Take all batches, and empty them as a recorder does; count them."""
    count = 0
    for each in batches:
        each.frames.clear()
        count += 1
    return count


def test_a_stream_of_which_a_frame_came_is_never_given_up() -> None:
    clock = SteppedClock()

    def batches() -> Iterator[Batch]:
        yield batch(MP3, FRAME, size=UNDECIDED)
        for _ in range(9):
            clock.pass_ms(60_000)
            yield batch(MP3, size=UNDECIDED)

    assert taken(hopeful(batches(), clock)) == 10


@pytest.mark.parametrize(
    ("contents", "watched", "given_up"),
    [(MP3, True, NothingRecordable), (MP3, False, NothingRecordable), (DATA, True, None), (COMING, True, None)],
)
def test_a_stream_that_names_nothing_else_is_given_up(
    contents: Contents, watched: bool, given_up: type[NotMedia] | None
) -> None:
    """After three seconds where a clock tells, at its end in any case."""
    clock, came = SteppedClock(), []

    def batches() -> Iterator[Batch]:
        for number in range(5):
            came.append(number)
            yield batch(contents)
            clock.pass_ms(HOPELESS // timedelta(milliseconds=2))

    given = hopeful(batches(), clock if watched else None)
    if given_up is None:
        assert taken(given) == 5
        return
    with pytest.raises(given_up, match="MP3 audio") as caught:
        taken(given)
    assert caught.value.tracks == {"MP3 audio"}
    assert len(came) == (3 if watched else 5)


@pytest.mark.parametrize(("contents", "error"), [(Contents(), NotMedia), (COMING, NothingRecordable)])
def test_a_stream_without_a_frame_is_given_up_after_many_bytes(contents: Contents, error: type[NotMedia]) -> None:
    with pytest.raises(NotMedia) as caught:
        taken(hopeful(batch(contents, size=UNDECIDED // 4) for _ in range(9)))
    assert type(caught.value) is error
    assert taken(hopeful(batch(contents, size=UNDECIDED // 4) for _ in range(3))) == 3
