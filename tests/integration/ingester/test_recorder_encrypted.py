"""Encrypted recordings: nothing of the media lies clear in the store, every player with the key reads it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from services.ingester.recorder.recover import recover
from shared.media.cenc.clear import clear_init, clear_segment, init_kid, read_infos, segment_kid
from shared.media.cenc.key import ContentKey
from shared.media.mp4.boxes import children, find
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support.framecode_record import Spec
from tests.support.media_recording import Recorded, undated
from tests.support.sealed import FOLDER, KEYS, payloads_of, play_sealed, record_twice, secrets_of, shows

SPECS = {
    "h264 by flv, slices": (Spec(seconds=Fraction(5), encoder="slices=4", stamps="90k"), "flv"),
    "hevc, opus": (Spec(codec="hevc", seconds=Fraction(5), audio="opus"), "mpegts"),
    "more slices than can be listed": (Spec(seconds=Fraction(3), encoder="slices=60", options=("-s", "320x1440")),
                                       "mpegts"),
    "vp9": (Spec(codec="vp9", seconds=Fraction(3)), "flv"),
    "no sound": (Spec(seconds=Fraction(3), audio=None), "mpegts"),
}  # fmt: skip


@pytest.fixture(scope="module", params=SPECS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    spec, kind = SPECS[request.param]
    return record_twice(spec, tmp_path_factory.mktemp("both"), kind)


def has_sound(recorded: Recorded) -> bool:
    return len(parse_init(recorded.init().read_bytes())) > 1


def played(recorded: Recorded) -> tuple[list[int], str, bytes]:
    return play_sealed(recorded.joined(), "", sound=has_sound(recorded))


def test_nothing_of_the_media_lies_clear(both: list[Recorded]) -> None:
    clear, sealed = both
    assert len(clear.segments) == len(sealed.segments) >= 1
    secrets = secrets_of(clear)
    assert secrets
    assert shows(b"".join(info.path.read_bytes() for info in clear.segments), secrets) == len(secrets)
    assert not shows(b"".join(info.path.read_bytes() for info in sealed.segments), secrets)


def test_what_is_told_of_segments_is_the_same_but_their_bytes(both: list[Recorded]) -> None:
    clear, sealed = both
    alike = [[replace(s, path=Path(), bytes=0, sha256="") for s in one.segments] for one in (clear, sealed)]
    assert alike[0] == alike[1]


def test_the_clear_view_has_the_samples_and_the_size(both: list[Recorded], tmp_path: Path) -> None:
    clear, sealed = both
    key = KEYS.fresh(FOLDER)
    head = sealed.init().read_bytes()
    assert init_kid(head) == key.kid
    assert len(clear_init(head)) == len(head)
    assert [track.kid for track in parse_init(head)] == [key.kid] * len(parse_init(head))
    for view in (head, clear_init(head)):
        assert parse_init(view) == parse_init(clear.init().read_bytes())
    joined = clear_init(head)
    for plain, stored in zip(clear.segments, sealed.segments, strict=True):
        data = stored.path.read_bytes()
        assert segment_kid(data) == key.kid
        shown = clear_segment(data, key.key)
        assert len(shown) == len(data)
        assert segment_kid(shown) == b""
        assert not any(name in shown for name in (b"senc", b"saiz", b"saio"))
        (tmp_path / "shown.m4s").write_bytes(shown)
        assert payloads_of(tmp_path / "shown.m4s") == payloads_of(plain.path)
        joined += shown
    (tmp_path / "joined.mp4").write_bytes(joined)
    assert play_sealed(tmp_path / "joined.mp4", "", sound=has_sound(clear)) == played(clear)


def test_a_player_with_the_key_reads_what_is_stored(both: list[Recorded]) -> None:
    clear, sealed = both
    seen = play_sealed(sealed.joined(), KEYS.fresh(FOLDER).key.hex(), sound=has_sound(clear))
    assert seen == played(clear)
    numbers = seen[0]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 60


def test_no_two_samples_have_the_same_iv(both: list[Recorded]) -> None:
    seen: list[bytes] = []
    for info in both[1].segments:
        data = info.path.read_bytes()
        moofs = [box for box in children(data) if box.kind == b"moof"]
        for moof in moofs:
            for traf in (box for box in children(data, moof.body, moof.end) if box.kind == b"traf"):
                senc = find(data, traf, b"senc")
                assert senc is not None
                seen += [iv for iv, _ in read_infos(data, senc)]
    assert len(set(seen)) == len(seen)
    assert all(after > before for before, after in pairwise(seen))
    assert len(seen) == sum(len(payloads_of(info.path)) for info in both[1].segments)


def test_subsamples_span_each_picture(both: list[Recorded]) -> None:
    for info in both[1].segments:
        data = info.path.read_bytes()
        tables = read_fragments(info.path).tables
        sizes = iter(tables[1].size.tolist())
        for moof in (box for box in children(data) if box.kind == b"moof"):
            traf = find(data, moof, b"traf")
            senc = find(data, traf, b"senc") if traf else None
            for _, subsamples in read_infos(data, senc) if senc else ():
                if subsamples is None:  # VP9, encrypted whole
                    next(sizes)
                    continue
                assert len(subsamples) <= 40
                assert sum(map(sum, subsamples)) == next(sizes)
        assert next(sizes, None) is None


def test_what_a_killed_recorder_left_is_found(both: list[Recorded], tmp_path: Path) -> None:
    sealed = both[1]
    for info in sealed.segments:
        (tmp_path / info.path.name).write_bytes(info.path.read_bytes())
    (tmp_path / sealed.init().name).write_bytes(sealed.init().read_bytes())
    last = tmp_path / sealed.segments[-1].path.name
    last.write_bytes(last.read_bytes() + sealed.segments[0].path.read_bytes()[:700])  # a part that was being written
    found = recover(tmp_path)
    told = [replace(info, path=tmp_path / info.path.name, timecode=None, timecodes=None) for info in sealed.segments]
    assert undated(found) == undated(told)


def test_another_key_reads_nothing(both: list[Recorded]) -> None:
    data = both[1].segments[0].path.read_bytes()
    wrong = ContentKey(b"", bytes(16))
    assert not shows(clear_segment(data, wrong.key), secrets_of(both[0]))
