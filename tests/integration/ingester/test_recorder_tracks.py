"""Tracks that come late, pause, or stand still: nothing that was sent is lost, and nothing is cut to pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.ingester.recorder.model import SegmentInfo
from shared.media.mp4.fragments import read_fragments
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_flv import AUDIO, SCRIPT, VIDEO, Tag
from tests.support.media_recording import Recorded


@pytest.fixture(scope="module")
def long_gop(tmp_path_factory: pytest.TempPathFactory) -> list[Tag]:
    """Sixteen seconds with a keyframe each eight, and sound."""
    source = media.encode(tmp_path_factory.mktemp("tracks") / "s.flv", seconds=16, gop=240, size="160x90")
    return flv.split(source.read_bytes())


def paced(tags: list[Tag], flags: int = 5) -> list[bytes | int]:
    """Feed tags at the times of their stamps."""
    fed: list[bytes | int] = [flv.header(flags)]
    now = 0
    for tag in tags:
        if tag.time > now:
            fed.append(tag.time - now)
            now = tag.time
        fed.append(flv.encode(tag))
    return fed


def recorded(tags: list[Tag], folder: Path, flags: int = 5) -> Recorded:
    made = Recorded(folder)
    assert made.run("flv", paced(tags, flags)).jumps == 0
    return made


def samples(segments: list[SegmentInfo], track: int) -> np.ndarray:
    tables = [read_fragments(s.path).tables.get(track) for s in segments]
    return np.concatenate([t.dts for t in tables if t is not None])


def media_tags(tags: list[Tag], kind: int) -> list[Tag]:
    """The frames among them, without the mark of the end."""
    return [t for t in tags if t.kind == kind and t.body[1] == 1]


@pytest.mark.parametrize("late", [300, 1600, 5000, 9000])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("header_first", [True, False])
def test_sound_that_begins_late_is_recorded_from_its_first_packet(
    long_gop: list[Tag], tmp_path: Path, late: int, announced: bool, header_first: bool
) -> None:
    tags = [t for t in long_gop if not (t.kind == AUDIO and not t.is_config and t.time < late)]
    if not header_first:
        header = next(t for t in tags if t.kind == AUDIO and t.is_config)
        tags.remove(header)
        at = next(i for i, t in enumerate(tags) if t.kind == AUDIO)
        tags.insert(at, header._replace(time=tags[at].time))
    made = recorded(tags, tmp_path, 5 if announced else 1)
    assert len(samples(made.segments, 2)) == len(media_tags(tags, AUDIO))
    assert len(samples(made.segments, 1)) == len(media_tags(tags, VIDEO))
    first = samples(made.segments, 2)[0] / 48_000
    began, heard = (media_tags(tags, kind)[0].time for kind in (VIDEO, AUDIO))
    assert abs(first - (heard - began) / 1000) < 0.002
    assert sum(s.discontinuity for s in made.segments) <= (late > 8000), "only where players need another init segment"
    for number in {s.init_number for s in made.segments}:
        assert media.warnings(made.joined([s for s in made.segments if s.init_number == number])) == ""


def test_sound_that_comes_first_waits_for_the_announced_picture(long_gop: list[Tag], tmp_path: Path) -> None:
    """A relay's push: the sound's header, half a second of sound, and then the picture with its keyframe."""
    head = [t for t in long_gop if t.kind in (SCRIPT, AUDIO) and (t.is_config or t.time < 500)]
    rest = [t for t in long_gop if t not in head]
    made = recorded(head + rest, tmp_path)
    assert {s.init_number for s in made.segments} == {0}
    assert not any(s.discontinuity for s in made.segments)
    assert made.segments[0].keyframes[0] <= 3000
    assert len(samples(made.segments, 1)) == len(media_tags(long_gop, VIDEO))


@pytest.mark.parametrize("away", [3, 6, 9])
def test_a_picture_that_stands_still_keeps_what_follows(long_gop: list[Tag], tmp_path: Path, away: int) -> None:
    """No picture for seconds, sound going on; then the encoder goes on without a keyframe."""
    end = 3000 + away * 1000
    tags = [t for t in long_gop if not (t.kind == VIDEO and not t.is_key and 3000 <= t.time < end)]
    if away >= 5:
        tags = [t for t in tags if not (t.is_key and 7500 < t.time < 8500)]
    made = recorded(tags, tmp_path)
    assert len(samples(made.segments, 1)) == len(media_tags(tags, VIDEO)), "every picture that was sent"
    assert len(samples(made.segments, 2)) == len(media_tags(tags, AUDIO))
    assert not any(s.discontinuity for s in made.segments)
    shown = np.concatenate([read_fragments(s.path).tables[1].duration for s in made.segments])
    assert shown.sum() == pytest.approx(16 * 90_000, abs=9000), "the picture is held"
    assert min(s.duration / s.timescale for s in made.segments) > 0.5


def test_an_encoder_that_pauses_goes_on_without_a_keyframe(long_gop: list[Tag], tmp_path: Path) -> None:
    """Nothing for 5 s in the middle of a GOP, sound coming back first; then all goes on."""

    def later(t: Tag) -> Tag:
        return t._replace(time=t.time + 5000) if t.time >= (3000 if t.kind != AUDIO else 2990) else t

    tags = [later(t) for t in long_gop]
    made = recorded(tags, tmp_path)
    assert len(samples(made.segments, 1)) == len(media_tags(tags, VIDEO))
    assert len(samples(made.segments, 2)) == len(media_tags(tags, AUDIO))
    lengths = [s.duration / s.timescale for s in made.segments]
    assert min(lengths) > 0.5, "no splinters"
    assert sum(lengths) == pytest.approx(16, abs=0.3), "the pause is not padded"
    gaps = [b.start - a.start - a.duration for a, b in itertools.pairwise(made.segments)]
    assert [round(gap / 90_000) for gap in gaps if gap > 9000] == [5]
    assert [b.wall_start_ms - a.wall_start_ms for a, b in itertools.pairwise(made.segments)] == pytest.approx(
        [(b.start - a.start) / 90 for a, b in itertools.pairwise(made.segments)], abs=60
    )


Odd = Callable[[list[Tag]], list[Tag]]


def glitch(by: int, kind: int) -> Odd:
    def change(tags: list[Tag]) -> list[Tag]:
        one = next(t for t in media_tags(tags, kind) if t.time > 20_005_000)
        return [t._replace(time=t.time + by) if t is one else t for t in tags]

    return change


@pytest.mark.parametrize("kind", [VIDEO, AUDIO])
@pytest.mark.parametrize("by", [-1500, -500, 200, 1500, 60_000, -9_800_000])
def test_one_odd_stamp_moves_nothing_else(long_gop: list[Tag], tmp_path: Path, by: int, kind: int) -> None:
    base = flv.moved(long_gop, 20_000_000)
    changed = glitch(by, kind)([t._replace(time=t.time) for t in base])
    made = Recorded(tmp_path)
    fed: list[bytes | int] = [flv.header()]
    for before, (original, tag) in zip([base[0], *base], zip(base, changed, strict=True), strict=False):
        fed += [max(original.time - before.time, 0), flv.encode(tag)]
    assert made.run("flv", fed).jumps == 0
    usual = recorded(long_gop, tmp_path / "usual")
    for track, slack in ((1, 3000), (2, 2)):
        one, other = samples(made.segments, track), samples(usual.segments, track)
        assert len(one) == len(other)
        off = np.abs(one - other)
        assert off.max() <= slack
        assert (off > 2).sum() <= 1
    assert not any(s.discontinuity for s in made.segments)
