"""What leaves at one moment, put together by the reader: which units, in which order prepared, and what a cut keeps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.restreamer.model import FLICKS, Track, Unit
from services.restreamer.playout.reading.splice import Part, SplicedUnit
from services.restreamer.playout.sending.batch import A_UNIT
from services.restreamer.playout.sending.ring import Bounds, Ring
from services.restreamer.playout.terms import Ended
from shared.messages.restreams import PlaylistCursor

MS = FLICKS // 1000
PART = Part(1, PlaylistCursor(), "copied")
AAC = Track("audio", "aac", b"\x11\x90", sample_rate=48000, channels=2)


def entries(text: str) -> list[SplicedUnit]:
    """Read "v0 a5 a26 A40": kinds and ms of decode times; a capital letter brings a track."""
    found = []
    for word in text.split():
        at, kind = int(word[1:]) * MS, "video" if word[0] in "vV" else "audio"
        length = (40 if kind == "video" else 21) * MS
        track = AAC if word[0] in "VA" else None
        unit = Unit(kind, at, at, length, key=not at or kind == "audio", data=word.encode(), track=track)
        found.append(SplicedUnit(unit, PART, at + length, at + length if kind == "video" else None))
    return found


def words(units: Sequence[Unit]) -> str:
    return " ".join(unit.data.decode() for unit in units)


def taken(ring: Ring) -> list[str]:
    found = []
    while (batch := ring.due(1 << 62)) is not None:
        assert [entry.unit for entry in batch.entries] == batch.units
        assert batch.size == sum(len(unit.data) + A_UNIT for unit in batch.units)
        assert ring.sent is batch.sent
        found.append(words(batch.units))
    return found


CASES = {
    "a picture and its sound": ("v0 a0 a21 v40 a43 a64 v80", ["v0 a0 a21", "v40 a43 a64", "v80"]),
    "sound first": ("a0 a21 v40 a43", ["a0 a21", "v40 a43"]),
    "few pictures": ("v0 a0 a21 a40 a61 a82 v100", ["v0 a0 a21 a40", "a61 a82", "v100"]),
    "pictures alone": ("v0 v40 v80", ["v0", "v40", "v80"]),
    "another track": ("V0 A0 a21 v40 A43 a64", ["V0", "A0 a21", "v40", "A43 a64"]),
}


@pytest.mark.parametrize("pieces", [1, 2, 3, 100])
@pytest.mark.parametrize("case", CASES)
def test_units_leave_together_however_they_were_put(case: str, pieces: int) -> None:
    text, expected = CASES[case]
    given, prepared = entries(text), list[str]()
    ring = Ring(prepare=lambda units: prepared.append(words(units)) or words(units))
    for at in range(0, len(given), pieces):
        ring.put(given[at : at + pieces])
    assert prepared == expected[:-1]  # to the last one something may still be added
    ready = [batch.ready for batch in ring._batches]
    assert ready == [*expected[:-1], None]
    assert taken(ring) == expected


def test_what_was_taken_before_it_was_whole_is_prepared_in_its_turn() -> None:
    """Its tracks must be known to whoever prepares what follows."""
    prepared: list[str] = []
    ring = Ring(prepare=lambda units: prepared.append(words(units)))
    ring.put(entries("V0 A0"))
    assert taken(ring) == ["V0", "A0"]
    ring.put(entries("a21"))
    ring.put(entries("v40 a43 v80"))
    assert taken(ring) == ["a21", "v40 a43", "v80"]
    assert prepared == ["V0", "A0", "a21", "v40 a43"]


def test_only_what_is_due_is_taken() -> None:
    ring = Ring()
    ring.put(entries("v0 a0 v40 a43 v80"))
    assert [words(batch.units) for batch in (ring.due(0), ring.due(39_999_999), ring.due(40_000_000)) if batch] == [
        "v0 a0",
        "v40 a43",
    ]
    assert ring.sent.video is not None
    assert (ring.sent.video.unit.dts, ring.sent.sound_end) == (40 * MS, 64 * MS)


def test_a_cut_in_the_middle_of_a_batch_keeps_its_picture() -> None:
    prepared: list[str] = []
    ring = Ring(prepare=lambda units: prepared.append(words(units)))
    ring.put(entries("v0 a0 a21 v40 a43 a64 v80 a85 a106 v120"))
    ring.finish(Ended())
    cut = ring.cut(30 * MS)
    assert (cut.picture_end, cut.last_dts, words([entry.unit for entry in cut.kept])) == (80 * MS, 40 * MS, "a43 a64")
    ring.put(list(cut.kept))
    ring.put(entries("v80 v120"))
    assert taken(ring) == ["v0 a0 a21", "v40 a43 a64", "v80", "v120"]
    assert prepared == ["v0 a0 a21", "v40 a43 a64", "v80 a85 a106", "v40 a43 a64", "v80"]
    assert ring.over is None


def test_a_cut_of_everything_leads_on_from_what_was_sent() -> None:
    ring = Ring()
    ring.put(entries("v0 a0 v40"))
    assert ring.due(0) is not None
    ring.put(entries("a41 a62"))
    cut = ring.cut_file(2)
    assert (cut.picture_end, cut.last_dts) == (40 * MS, 0)
    assert ring.head() is None


def test_units_of_nothing_fill_the_ring_too() -> None:
    """They take memory whatever they hold: 20 bytes of a file are a unit."""
    ring, asked = Ring(Bounds(size=100 * A_UNIT)), list[int]()
    for count in range(1000):
        ring.put(entries("v0"))
        ring.wait_for_room(lambda count=count: bool(asked.append(count)) or True)
    assert asked[0] == 99
