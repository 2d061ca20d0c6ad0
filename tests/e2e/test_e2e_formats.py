"""Every codec and track layout over both protocols, all at once: recorded, clipped to the frame, read back."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support import framecode, framecode_record
from tests.support.framecode_record import Spec
from tests.support.stack import StackUnderTest, publisher, until

SECONDS = Fraction(14)
FIRST, FRAMES = 45, 90  # 1.5 s to 4.5 s


@dataclass(frozen=True)
class Case:
    name: str
    protocol: str
    spec: Spec


CASES = (
    Case("hevc and aac", "rtmp", Spec(codec="hevc", seconds=SECONDS)),
    Case("hevc and aac", "srt", Spec(codec="hevc", seconds=SECONDS)),
    Case("h264 and opus", "srt", Spec(audio="opus", seconds=SECONDS)),
    Case("h264 and opus", "rtmp", Spec(audio="opus", seconds=SECONDS, bframes=0)),
    Case("video alone", "rtmp", Spec(audio=None, seconds=SECONDS)),
    Case("sound alone", "srt", Spec(video=False, seconds=SECONDS)),
    Case("sound alone", "rtmp", Spec(video=False, seconds=SECONDS)),
)


def test_every_format(live: StackUnderTest, tmp_path: Path) -> None:
    clips: dict[str, tuple[Case, str]] = {}
    with ExitStack() as publishers:
        for number, case in enumerate(CASES):
            source = tmp_path / f"{number}.{'mkv' if case.spec.audio == 'opus' or not case.spec.video else 'mp4'}"
            framecode_record.encode(case.spec, source)
            job = live.job(name=f"{case.name} over {case.protocol}")
            rtmp = case.protocol == "rtmp"
            url = f"{job['stream_url']}/{job['stream_name']}" if rtmp else job["srt_url"]
            publishers.enter_context(publisher(source, url, "flv" if rtmp else "mpegts"))
            until(lambda job=job: live.state(job["id"]) == "processing", f"{case.name} over {case.protocol}")
            clip = live.clip(job["id"], stream_start_time="1.5", stream_end_time="4.5", wait=True)
            clips[f"{case.name}, {case.protocol}"] = (case, clip)
        for name, (case, clip) in clips.items():
            made = live.finished(clip, 90)
            file = live.download(clip, tmp_path / f"{clip}.mp4")
            check(name, case, file, made["made"]["frames"])


def check(name: str, case: Case, file: Path, frames: int) -> None:
    seen = framecode.play(file, video=case.spec.video, audio=case.spec.audio is not None)
    assert seen.warnings == "", name
    if case.spec.video:
        assert frames == FRAMES, name
        assert seen.numbers == list(range(FIRST, FIRST + FRAMES)), name
    if case.spec.audio:
        starts = framecode.beep_starts(seen.sound)
        expected = [framecode.AUDIO_RATE * half // 2 for half in (1, 3, 5)]  # at 2, 3 and 4 s of the programme
        assert len(starts) == len(expected), (name, starts)
        # Without a picture, stream time begins with the encoder's own first frame, which is one of delay.
        tolerance = 1024 if case.spec.video else 2 * 1024
        assert all(abs(a - b) <= tolerance for a, b in zip(starts, expected, strict=True)), (name, starts)


@pytest.mark.parametrize("protocol", ["rtmp", "srt"])
def test_a_second_publisher_is_refused_and_the_first_goes_on(
    live: StackUnderTest, programme: Path, protocol: str
) -> None:
    job = live.job(name="two publishers")
    url = f"{job['stream_url']}/{job['stream_name']}" if protocol == "rtmp" else job["srt_url"]
    container = "flv" if protocol == "rtmp" else "mpegts"
    with publisher(programme, url, container) as first:
        until(lambda: live.state(job["id"]) == "processing", "the first publisher")
        with publisher(programme, url, container) as second:
            assert second.wait(40) != 0
        assert first.poll() is None
        assert live.state(job["id"]) == "processing"
