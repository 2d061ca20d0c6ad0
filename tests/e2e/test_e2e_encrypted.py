"""An encrypted event, end to end: its ingester is killed, its stack gets another key, and all of it is still read."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from shared.media.cenc.clear import segment_kid
from shared.media.mp4.fragments import read_fragments
from tests.support import framecode
from tests.support.hls_media import play
from tests.support.sealed import play_sealed
from tests.support.stack import StackUnderTest, publisher, stack, until

RATE = 30
FIRST, SECOND = "the first master key of a test", "the second master key of a test"
KEY, KID = "0123456789abcdef" * 2, "fe" * 16
pytestmark = pytest.mark.timeout(300)


def segments(live: StackUnderTest, job: str) -> list[Path]:
    return sorted((live.folder / "media" / "live" / job).rglob("*.m4s"))


def frames(live: StackUnderTest, job: str) -> int:
    return sum(len(table) for file in segments(live, job) for n, table in read_fragments(file).tables.items() if n == 1)


def sessions(live: StackUnderTest, job: str) -> int:
    return len({file.parent for file in segments(live, job)})


def listens(live: StackUnderTest) -> bool:
    with (
        contextlib.suppress(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", live.run["ports"]["rtmp"])),
    ):
        return True
    return False


def cut(live: StackUnderTest, job: str, out: Path, **output: object) -> tuple[Path, dict[str, object]]:
    clip = live.clip(job, **output)
    made = live.finished(clip, 90)
    return live.download(clip, out), made


def test_an_encrypted_event_through_a_kill_and_a_change_of_the_key(programme: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    with stack(folder, REELAY_CONTENT_ENCRYPTION="true", REELAY_SECRET_KEY=FIRST) as live:
        job = live.job(name="encrypted")
        ident, url = job["id"], f"{job['stream_url']}/{job['stream_name']}"
        with publisher(programme, url, "flv"):
            until(lambda: frames(live, ident) > 4 * RATE, "four seconds to be recorded")
            former = live.kill9("ingester")
        live.wait_restarted("ingester", former)
        until(lambda: listens(live), "the ingester to listen")
        with publisher(programme, url, "flv"):
            until(lambda: sessions(live, ident) > 1 and frames(live, ident) > 9 * RATE, "the next session", 90)
            clear, made = cut(live, ident, tmp_path / "clear.mp4", stream_start_time="0.5", stream_end_time="3.5")
            sealed, _ = cut(
                live, ident, tmp_path / "sealed.mp4", stream_start_time="0.5", stream_end_time="3.5",
                encryption={"scheme": "cenc", "key": KEY, "kid": KID},
            )  # fmt: skip
            plain = live.job(name="plain", encrypted=False)
        assert made["accuracy"] == "frame"
        numbers = list(range(15, 105))
        assert framecode.play(clear).numbers == numbers
        seen = play_sealed(sealed, KEY)
        assert (seen[0], seen[1]) == (numbers, "")
        kept = segments(live, ident)
        with publisher(programme, f"{plain['stream_url']}/{plain['stream_name']}", "flv"):
            until(lambda: frames(live, plain["id"]) > RATE, "the other job to be recorded")
        assert all(segment_kid(file.read_bytes()) for file in kept)
        assert not any(segment_kid(file.read_bytes()) for file in segments(live, plain["id"]))
        assert "feed.lost" not in live.log()
    changed = {"REELAY_SECRET_KEY": SECOND, "REELAY_SECRET_KEYS_OLD": FIRST}
    with stack(folder, **changed) as live:
        again, _ = cut(live, ident, tmp_path / "again.mp4", stream_start_time="0.5", stream_end_time="3.5")
        assert again.read_bytes() == clear.read_bytes()
        address = live.get(f"/v1/jobs/{ident}")["playback_url_dvr"]
        played, warnings = play(address, "-live_start_index", "0", "-t", "3")
        assert (played, warnings) == (3 * RATE, "")
