"""The encoder's clock on the session's one time line: what each oddity of stamps means, as a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingester.publication import Arrival, Frame
from services.ingester.recorder.timing import Placed, TimeLine
from shared.media.mp4.entries import aac_config
from tests.unit.shared.media.test_mp4_boxes import VIDEO

AAC = aac_config(bytes.fromhex("1190"))
SECOND = 90_000
PICTURE, SOUND = SECOND // 30, SECOND * 1024 // 48_000
ORIGIN = 12 * SECOND


def frame(kind: str, stamp: float, payload: bytes = b"x") -> Frame:
    return Frame(VIDEO if kind == "video" else AAC, int(stamp), 0, True, payload)


class Sent(NamedTuple):
    """A frame: when it was made (s since the session's beginning), its stamp (s, likewise), when it came."""

    kind: str
    made: float
    stamp: float
    came: float


def encoder(seconds: float = 12, lag: float = 0.0) -> list[Sent]:
    """Thirty pictures a second, and AAC that comes `lag` seconds behind the picture of the same stamp."""
    pictures = [Sent("video", n / 30, n / 30, n / 30) for n in range(int(seconds * 30))]
    sound = [Sent("audio", n * 1024 / 48_000, n * 1024 / 48_000, n * 1024 / 48_000 + lag)
             for n in range(int(seconds * 48_000 / 1024))]  # fmt: skip
    return sorted(pictures + sound, key=lambda sent: sent.came)


def placed(sent: list[Sent]) -> tuple[TimeLine, dict[tuple[str, float], float], list[Placed]]:
    """Give the line all frames; return where each lies (s), by kind and when it was made."""
    line, found, out = TimeLine(2 * SECOND), {}, []
    line.begin(ORIGIN)
    made: dict[int, Sent] = {}
    for one in sent:
        each = frame(one.kind, round(one.stamp * SECOND) + ORIGIN)
        made[id(each)] = one
        out += line.place(each, Arrival(int(one.came * 1e9), int(one.came * 1000)))
    out += line.flush()
    for each in out:
        one = made[id(each.frame)]
        found[one.kind, one.made] = each.dts / SECOND
    return line, found, out


Change = Callable[[Sent], Sent | None]


def stamped(by: float, since: float, until: float = 1e9, kinds: str = "video audio") -> Change:
    """Stamp frames of a time otherwise."""
    return lambda s: s._replace(stamp=s.stamp + by) if since <= s.made < until and s.kind in kinds else s


def paused(by: float, since: float) -> Change:
    """Stand still for some seconds, and go on with the clock where it was."""
    return lambda s: s._replace(came=s.came + by) if s.made >= since else s


def away(by: float, since: float) -> Change:
    """Stand still for some seconds, with the clock going on."""
    return lambda s: s._replace(came=s.came + by, stamp=s.stamp + by, made=s.made + by) if s.made >= since else s


def lost(since: float, until: float, kinds: str) -> Change:
    return lambda s: None if since <= s.made < until and s.kind in kinds else s


ONE = 5.0 + 1 / 60  # just before the picture at 5 1/30 s
CASES: dict[str, tuple[Change, int]] = {
    "nothing odd": (lambda s: s, 0),
    **{f"one picture {by:+} s": (stamped(by, ONE, ONE + 0.02, "video"), 0)
       for by in (-0.2, -0.5, -1.5, 0.2, 0.5, 1.5, 60, -9800)},
    **{f"one packet {by:+} s": (stamped(by, ONE, ONE + 0.02, "audio"), 0) for by in (-0.2, -1.5, 0.2, 1.5, 60, -9800)},
    "a picture and a packet": (stamped(0.7, ONE, ONE + 0.02), 0),
    "three odd pictures": (stamped(1.5, ONE, ONE + 0.1, "video"), 0),
    **{f"the clock jumps {by:+} s": (stamped(by, 5), 1) for by in (3600, -3600, 20, -1.5, -20)},
    "stands still for 3 s": (paused(3, 5), 0),
    "stands still for 7 s": (paused(7, 5), 0),
    "away for 7 s": (away(7, 5), 0),
    "away for 25 s": (away(25, 5), 0),
    "no picture for 6 s": (lost(3, 9, "video"), 0),
    "no sound for 6 s": (lost(3, 9, "audio"), 0),
    "sound begins after 4 s": (lost(0, 4, "audio"), 0),
    "a lost packet": (lost(ONE, ONE + 0.02, "audio"), 0),
}  # fmt: skip


@pytest.mark.parametrize("lag", [0.0, 0.05, 0.3, 0.7, -0.7], ids=lambda lag: f"sound {lag} s late")
@pytest.mark.parametrize("name", CASES)
def test_every_frame_lies_where_it_was_made(name: str, lag: float) -> None:
    """Whatever is stamped oddly, sound and picture keep their distance, and each frame its time within 50 ms."""
    change, jumps = CASES[name]
    made = [s for sent in encoder(lag=lag) if (s := change(sent)) is not None]
    line, found, _ = placed(sorted(made, key=lambda s: s.came))
    assert line.jumps == jumps
    assert len(found) == len(made), "no frame is lost"
    off = {key: at - key[1] for key, at in found.items()}
    worst = max(off, key=lambda key: abs(off[key]))
    # after a jump the tracks lie where the later one lets them, without overlap
    assert abs(off[worst]) < (0.8 if jumps else 0.05), f"{worst} lies {off[worst]:+.3f} s off"
    late = [at for key, at in off.items() if key[1] > 10]
    assert max(late) - min(late) < 0.002, "sound and picture are in step afterwards"


def test_sound_muxed_behind_its_picture_is_recorded_in_step() -> None:
    """A session begins with a keyframe; sound stamped 0.7 s before it comes after it."""
    line = TimeLine(2 * SECOND)
    line.begin(ORIGIN)
    for late in range(40):
        now = Arrival(late * 33_333_333, late * 33)
        assert [p.dts for p in line.place(frame("video", ORIGIN + late * PICTURE), now)] == [late * PICTURE]
        stamp = ORIGIN - 63_000 + late * PICTURE
        assert [p.dts for p in line.place(frame("audio", stamp), now)] == [late * PICTURE - 63_000]
    assert line.jumps == 0


def test_a_jump_settles_both_tracks_alike() -> None:
    line = TimeLine(2 * SECOND)
    line.begin(1000)
    now = Arrival(0, 0)
    for at in range(0, SECOND, PICTURE):
        assert [p.dts for p in line.place(frame("video", 1000 + at), now)] == [at]
        assert [p.dts for p in line.place(frame("audio", 1500 + at), now)] == [at + 500]
    found = [p for n in range(3) for kind, by in (("video", 0), ("audio", 500))
             for p in line.place(frame(kind, 77_000_000 + by + n * PICTURE), now)]  # fmt: skip
    assert sorted(p.dts for p in found) == sorted(SECOND + by + n * PICTURE for n in range(3) for by in (0, 500))
    assert [p.jumped for p in found].count(True) == line.jumps == 1


def test_a_track_with_a_clock_of_its_own_is_placed_by_its_arrival() -> None:
    """Sound stamped from 0 while the picture's stamps began at a million seconds."""
    mine = [s._replace(stamp=s.stamp + (1e6 if s.kind == "audio" else 0)) for s in encoder()]
    line, found, _ = placed(mine)
    off = [at - made for (_, made), at in found.items() if made > 1]
    assert line.jumps == 0
    assert max(map(abs, off)) < 0.05


def test_an_odd_first_stamp_does_not_decide_for_the_rest() -> None:
    first = min((s for s in encoder() if s.kind == "audio"), key=lambda s: s.made)
    for stamp in (-900.0, 3600.0):
        mine = [s._replace(stamp=stamp) if s == first else s for s in encoder()]
        line, found, _ = placed(mine)
        assert line.jumps == 0
        assert max(abs(at - made) for (kind, made), at in found.items() if (kind, made) != ("audio", 0.0)) < 0.05


def test_pictures_every_few_seconds_keep_their_times() -> None:
    for step in (1.0, 2.5, 6.0, 9.0):
        for sound in (True, False):
            slides = [Sent("video", n * step, n * step, n * step) for n in range(6)]
            mine = slides + ([s for s in encoder(6 * step) if s.kind == "audio"] if sound else [])
            for frozen in (False, True) if sound else (False,):  # all at once, too
                sent = sorted(mine, key=lambda s: s.came)
                line, found, _ = placed([s._replace(came=0) for s in sent] if frozen else sent)
                assert line.jumps == 0
                assert [round(found["video", s.made], 3) for s in slides] == [s.made for s in slides]


stamps = st.tuples(st.sampled_from(["video", "audio"]), st.integers(-(1 << 34), 1 << 34), st.integers(0, 10**11))


@settings(max_examples=150, deadline=None)
@given(st.lists(stamps, max_size=80))
def test_every_frame_is_placed_once_and_pictures_rise(said: list[tuple[str, int, int]]) -> None:
    line = TimeLine(2 * SECOND)
    line.begin(0)
    sent, out, now = [], [], 0
    for kind, stamp, passed in said:
        now += passed
        sent.append(frame(kind, stamp))
        out += line.place(sent[-1], Arrival(now, now // 1_000_000))
    out += line.flush()
    assert len(out) <= len(sent)
    assert len({id(p.frame) for p in out}) == len(out)
    for kind in ("video", "audio"):
        order = [id(f) for f in sent if f.config.kind == kind]
        mine = [id(p.frame) for p in out if p.frame.config.kind == kind]
        assert mine == [each for each in order if each in set(mine)], "in the order in which they came"
    pictures = [p.dts for p in out if p.frame.config.kind == "video"]
    assert all(a < b for a, b in itertools.pairwise(pictures))
