"""Clips by timecode on a real stack: exactly the frames that the labels name, whatever the protocol and the rate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.media.timecode import Counting, Label, parse_label
from shared.rtmp.amf import encode
from shared.rtmp.chunks import DATA_AMF0, VIDEO
from tests.support import framecode
from tests.support.framecode_record import Spec
from tests.support.rtmp_client import RtmpClient
from tests.support.rtmp_encoder import send_tags, tags_of
from tests.support.stack import StackUnderTest, publisher, until
from tests.support.timecodes import labelled

PAL, NTSC, DROP, SIXTY = Counting(25), Counting(30), Counting(30, True), Counting(60)
SLOW = Fraction(30000, 1001)


@dataclass(frozen=True)
class Stream:
    """A stream whose first label is `first`, `share` pictures to a label; and the clip asked of it, as frames."""

    protocol: str
    rate: Fraction | int
    counting: Counting
    first: str
    asked: tuple[str, str]
    frames: range
    share: int = 1
    codec: str = "h264"
    again_at: int = 1000
    """From this picture on labels begin again."""

    @property
    def spec(self) -> Spec:
        return Spec(
            self.codec, Fraction(self.rate), gop=round(2 * self.rate), seconds=Fraction(6),
            encoder="pic-struct=1" if self.codec == "h264" else "",
        )  # fmt: skip

    def label(self, picture: int) -> Label:
        first = self.counting.number(parse_label(self.first))
        picture -= self.again_at if picture >= self.again_at else 0
        return self.counting.label(first + picture // self.share)


STREAMS = {
    "25": Stream("rtmp", 25, PAL, "10:00:00:00", ("10:00:01:07", "10:00:03:20"), range(32, 95)),
    "29.97 drop": Stream("srt", SLOW, DROP, "00:00:58;10", ("00:00:59;20", "00:01:01;05"), range(40, 83)),
    "29.97 drop, rtmp": Stream("rtmp", SLOW, DROP, "00:00:58;10", ("00:00:59;29", "00:01:00;02"), range(49, 50)),
    "29.97": Stream("rtmp", SLOW, NTSC, "00:00:58:10", ("00:00:59:20", "00:01:01:05"), range(40, 85)),
    "59.94": Stream("srt", 2 * SLOW, SIXTY, "10:00:00:00", ("10:00:01:59", "10:00:02:01"), range(119, 121)),
    "59.94, rtmp": Stream("rtmp", 2 * SLOW, SIXTY, "10:00:00:00", ("10:00:01:13", "10:00:03:47"), range(73, 227)),
    "50 in pairs": Stream("rtmp", 50, PAL, "10:00:00:00", ("10:00:01:07", "10:00:03:20"), range(64, 190), share=2),
    "midnight": Stream("srt", 25, PAL, "23:59:58:00", ("23:59:59:12", "00:00:01:03"), range(37, 78)),
    "labels again": Stream("rtmp", 25, PAL, "10:00:00:00", ("10:00:01:00", "10:00:02:00"), range(95, 120), again_at=70),
    "hevc": Stream("srt", 25, PAL, "10:00:00:00", ("10:00:01:07", "10:00:03:20"), range(32, 95), codec="hevc"),
}


def selected(start: str, end: str) -> dict[str, Any]:
    return {"stream_start_timecode": start, "stream_end_timecode": end}


def check(live: StackUnderTest, clip: str, name: str, stream: Stream, folder: Path) -> None:
    made = live.finished(clip)
    assert made["accuracy"] == "frame", name
    seen = framecode.play(live.download(clip, folder / "clip.mp4"))
    assert seen.numbers == list(stream.frames), name
    assert seen.warnings == "", name
    said = tuple(made["made"][key].replace(";", ":") for key in ("in_timecode", "out_timecode"))
    assert said == tuple(text.replace(";", ":") for text in stream.asked), name
    assert (";" in made["made"]["in_timecode"]) == stream.counting.drop


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("timecodes")
    made = {name: labelled(one.spec, one.label, folder / f"{n}.mp4") for n, (name, one) in enumerate(STREAMS.items())}
    return lambda name: made[name]


def test_clips_hold_exactly_the_frames_that_the_labels_name(
    live: StackUnderTest, files: Callable[[str], Path], tmp_path: Path
) -> None:
    jobs = {name: live.job() for name in STREAMS}
    with ExitStack() as running:
        for name, stream in STREAMS.items():
            job = jobs[name]
            address = (f"{job['stream_url']}/{job['stream_name']}", "flv")
            running.enter_context(
                publisher(files(name), *(address if stream.protocol == "rtmp" else (job["srt_url"], "mpegts")))
            )
        early = jobs["25"]["id"]
        until(lambda: live.state(early) == "processing", "the stream to be live")
        until(lambda: has_timecodes(live, early), "the first segment")
        coming = live.clip(early, **selected(*STREAMS["25"].asked), wait=True)
        for name, job in jobs.items():
            until(lambda job=job: live.state(job["id"]) == "disconnected", f"the end of {name}")
    clips = {name: live.clip(jobs[name]["id"], **selected(*stream.asked)) for name, stream in STREAMS.items()}
    for name, clip in clips.items():
        check(live, clip, name, STREAMS[name], tmp_path)
    check(live, coming, "25", STREAMS["25"], tmp_path)


def has_timecodes(live: StackUnderTest, job: str) -> bool:
    output = {"stream_start_timecode": "10:00:00:00", "duration": 1}
    return live.api.post("/v1/vods", json={"live_job_id": job, "outputs": [output]}).status_code == 201


def test_timecodes_of_data_messages(live: StackUnderTest, tmp_path: Path) -> None:
    """As FMLE and Wirecast send them: onFI beside the pictures, here once a second."""
    spec = Spec(rate=Fraction(25), gop=50, bframes=0, seconds=Fraction(6))
    tags = tags_of(labelled(spec, lambda _: None, tmp_path / "stream.flv"))
    told = []
    pictures = 0
    for kind, at, body in tags:
        if kind == VIDEO and body[1] == 1:  # a picture, which FLV stamps when it is decoded and, here, shown
            if pictures % 25 == 0:
                text = str(PAL.label(PAL.number(parse_label("10:00:00:00")) + pictures))
                told.append((DATA_AMF0, at, encode("onFI", {"sd": "27-11-2026", "st": "10:00:00.000", "tc": text})))
            pictures += 1
        told.append((kind, at, body))
    job = live.job()
    port = int(job["stream_url"].split(":")[2].split("/")[0])
    with RtmpClient(port) as client:
        client.publish(job["stream_name"])
        send_tags(client, told)
    until(lambda: live.state(job["id"]) == "disconnected", "the end of the stream")
    clip = live.clip(job["id"], **selected("10:00:01:07", "10:00:03:20"))
    stream = Stream("rtmp", 25, PAL, "10:00:00:00", ("10:00:01:07", "10:00:03:20"), range(32, 95))
    check(live, clip, "onFI", stream, tmp_path)


def test_a_stream_without_timecodes_says_so(live: StackUnderTest, tmp_path: Path) -> None:
    file = labelled(Spec(rate=Fraction(25), gop=25, seconds=Fraction(2)), lambda _: None, tmp_path / "stream.mp4")
    job = live.job()
    with publisher(file, f"{job['stream_url']}/{job['stream_name']}", "flv"):
        until(lambda: live.state(job["id"]) == "disconnected", "the end of the stream")
    outputs = [selected("10:00:01:07", "10:00:03:20")]
    answer: httpx.Response = live.api.post("/v1/vods", json={"live_job_id": job["id"], "outputs": outputs})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "NO_TIMECODES")
    assert "the encoder sends no timecodes" in answer.json()["detail"]
