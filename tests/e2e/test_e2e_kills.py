"""kill -9 of each part while a stream is being recorded and a clip is cut: nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from shared.media.mp4.fragments import read_fragments
from tests.support import framecode
from tests.support.stack import StackUnderTest, publisher, until
from tests.support.waiting import freeze

RATE = 30
ON_THE_WAY = ("nats-server", "clipper", "archiver", "gateway")
BESIDE = ("exporter", "scheduler", "notifier", "proxy-encoder", "restreamer")
CASES = [
    *(pytest.param((name,), id=name) for name in ON_THE_WAY),
    pytest.param(BESIDE, id="all others at once"),
    *(pytest.param((name,), id=name, marks=pytest.mark.soak) for name in BESIDE),
]


def recorded_frames(live: StackUnderTest, job: str) -> int:
    """Count the pictures that lie whole on disk."""
    files = sorted((live.folder / "media" / "live" / job).rglob("*.m4s"))
    return sum(len(table) for file in files for track, table in read_fragments(file).tables.items() if track == 1)


def name_of(live: StackUnderTest, part: str) -> str:
    return next(name for name in live.run["processes"] if name in {part, part.removesuffix("-server")})


@pytest.mark.parametrize("victims", CASES)
def test_killed_while_recording_and_cutting(
    live: StackUnderTest, programme: Path, tmp_path: Path, victims: tuple[str, ...]
) -> None:
    names = [name_of(live, victim) for victim in victims]
    job = live.job(name=f"kill {victims[0]}")
    with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
        until(lambda: recorded_frames(live, job["id"]) > 5 * RATE, "five seconds to be recorded")
        clip = live.clip(job["id"], stream_start_time="0.5", stream_end_time="4.5")
        former = {name: live.kill9(name) for name in names}
        for name in names:
            live.wait_restarted(name, former[name])
        made = live.finished(clip, 90)
        assert made["accuracy"] == "frame"
        file = live.download(clip, tmp_path / "clip.mp4")
        assert framecode.play(file).numbers == list(range(15, 135))
        until(lambda: recorded_frames(live, job["id"]) > 10 * RATE, "the recording to go on")
        whole = live.clip(job["id"], stream_start_time=0, stream_end_time=10)
        assert live.finished(whole, 90)["gaps"] == []
    numbers = framecode.play(live.download(whole, tmp_path / "whole.mp4")).numbers
    assert numbers == list(range(10 * RATE))


def test_a_clip_is_whole_after_the_broker_stood_still(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    """Its end passes by far while segments lie on disk; taken up before they are announced, it waits for them."""
    job = live.job(name="broker stands still")
    broker, ingester = live.pid(name_of(live, "nats-server")), live.pid("ingester")
    with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
        until(lambda: recorded_frames(live, job["id"]) > 4 * RATE, "four seconds to be recorded")
        clip = live.clip(job["id"], stream_start_time="0.5", stream_end_time=8, wait=True)
        until(lambda: live.get(f"/v1/vods/{clip}")["jvod_state"] == "waiting", "the clip to wait for its end")
        freeze(broker)
        try:
            until(lambda: recorded_frames(live, job["id"]) > 21 * RATE, "the end to be long past", 90)
            freeze(ingester)
            os.kill(broker, signal.SIGCONT)
            until(lambda: live.get(f"/v1/vods/{clip}")["accuracy"], "the fast file", 60)
            early = live.get(f"/v1/vods/{clip}")
            live.finished(live.clip(job["id"], stream_start_time="0.5", stream_end_time="1.5"))  # by the same lane
        finally:
            for process in (broker, ingester):
                os.kill(process, signal.SIGCONT)
        made = live.finished(clip, 90)
    assert (early["made"]["out_point"] < 8, early["accuracy"], len(early["gaps"])) == (True, "segment", 1)
    assert made["gaps"] == []
    numbers = framecode.play(live.download(clip, tmp_path / "clip.mp4")).numbers
    assert numbers == list(range(RATE // 2, 8 * RATE))


def test_ingester_killed_misses_at_most_the_part_being_written(
    live: StackUnderTest, programme: Path, tmp_path: Path
) -> None:
    job = live.job(name="kill ingester")
    url = f"{job['stream_url']}/{job['stream_name']}"
    with publisher(programme, url, "flv"):
        until(lambda: recorded_frames(live, job["id"]) > 5 * RATE, "five seconds to be recorded")
        clip = live.clip(job["id"], stream_start_time="0.5", stream_end_time="3.5")
        former = live.kill9("ingester")
        kept = recorded_frames(live, job["id"])
        live.wait_restarted("ingester", former)
    until(lambda: live.state(job["id"]) == "disconnected", "the end of the session to be noticed", 90)
    assert framecode.play(live.download(live.finished(clip)["jvod_id"], tmp_path / "a.mp4")).numbers == list(
        range(15, 105)
    )
    with publisher(programme, url, "flv"):
        until(lambda: recorded_frames(live, job["id"]) > kept + 3 * RATE, "the second session to be recorded", 90)
        both = live.clip(job["id"], duration=600)
        made = live.finished(both, 90)
    numbers = framecode.play(live.download(both, tmp_path / "both.mp4")).numbers
    assert len(made["gaps"]) == 1, "what was never recorded is known"
    second = numbers.index(0, 1)
    assert numbers[:second] == list(range(second))
    assert second >= kept, "everything that lay whole on disk is in the recording"
    assert numbers[second:] == list(range(len(numbers) - second))
