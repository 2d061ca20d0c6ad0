"""The disk fills up while a stack records: sessions end whole, nobody is let in, and all works again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import framecode
from tests.support.disk import MIB, SmallDisk, small_disk
from tests.support.stack import StackUnderTest, publisher, stack, until

RATE = 30
SIZE = "256m"  # the reserve is 32 MiB; recording begins again with 48 MiB free, clips are cut with 96 MiB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that the test can fill."""
    with small_disk(tmp_path, SIZE) as made:
        yield made


def readiness(live: StackUnderTest, name: str) -> httpx.Response:
    port = live.run["processes"][name]["health_port"]
    return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10)


def refused(live: StackUnderTest, programme: Path, url: str) -> bool:
    """Publish, and tell whether the encoder was turned away for want of room before it could send media."""
    before = live.log().count("rtmp.publish.refused")
    with publisher(programme, url, "flv") as encoder:
        until(lambda: encoder.poll() is not None or live.log().count("rtmp.publish.accepted") > 1, "an answer")
        lines = [line for line in live.log().splitlines() if "rtmp.publish.refused" in line][before:]
        return encoder.poll() != 0 and len(lines) == 1 and "disk is full" in lines[0]


def test_a_full_disk_ends_recordings_whole_and_passes(disk: SmallDisk, programme: Path, tmp_path: Path) -> None:
    with stack(disk.root / "data") as live:
        job = live.job(name="full")
        url = f"{job['stream_url']}/{job['stream_name']}"
        with publisher(programme, url, "flv") as encoder:
            until(lambda: live.state(job["id"]) == "processing", "the stream to begin")
            until(lambda: len(list((live.folder / "media/live" / job["id"]).rglob("*.m4s"))) > 2, "segments")
            disk.fill(leave=16 * MIB)  # below the reserve; the broker has room
            assert until(lambda: encoder.poll() is not None, "the encoder to be cut off")
        until(lambda: live.state(job["id"]) == "disconnected", "the session to end")
        assert "reason=disk_full" in next(line for line in live.log().splitlines() if "session.closed" in line)
        answer = readiness(live, "ingester")
        assert (answer.status_code, "full: " in answer.json()["disk"]) == (503, True)
        assert refused(live, programme, url)
        live.clip(job["id"], duration=600)
        until(lambda: "too little room is left" in live.log(), "the clip to wait for room")
        kept = live.job(name="made while there was little room")["id"]

        disk.fill(leave=0)
        until(lambda: live.api.post("/v1/jobs", json={"name": "x"}).status_code == 503, "the broker to fail")
        assert live.api.get("/readyz").status_code == 503

        disk.clear()
        live.job(name="made when there is room again")
        until(lambda: live.api.get("/readyz").status_code == 200, "the gateway to be ready")
        until(lambda: readiness(live, "ingester").status_code == 200, "the ingester to be ready")
        assert live.get(f"/v1/jobs/{kept}")["name"] == "made while there was little room"
        with publisher(programme, url, "flv"):
            until(lambda: live.state(job["id"]) == "processing", "the recording to go on")
            until(lambda: len(sessions(live, job["id"])) == 2, "the second session")
            until(lambda: len(list(sessions(live, job["id"])[1].rglob("*.m4s"))) > 2, "segments")
            made = live.finished(live.clip(job["id"], duration=600), 90)
        numbers = framecode.play(live.download(made["jvod_id"], tmp_path / "both.mp4")).numbers
        second = numbers.index(0, 1)
        whole = second - 3  # the encoder was cut off: of its last pictures, those shown earlier may not have come
        assert numbers[:whole] == list(range(whole))
        assert second >= 2 * RATE
        assert numbers[second:] == list(range(len(numbers) - second))
        *cut_off, away = made["gaps"]
        assert away["track"] == "all"
        # The encoder was cut off: of its last part the sound may end before the picture, and that is told as well.
        assert [gap["track"] for gap in cut_off] in ([], ["audio"])
        for gap in cut_off:
            assert gap["duration"] < 0.5
            assert gap["start"] + gap["duration"] == pytest.approx(away["start"], abs=1e-6)


def sessions(live: StackUnderTest, job: str) -> list[Path]:
    """Give the folders of a job's sessions, oldest first."""
    folder = live.folder / "media" / "live" / job
    return sorted((path for path in folder.iterdir() if path.name != "index"), key=lambda path: path.stat().st_ctime)
