"""Real encoders publish; every packet arrives, with its time."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from shared.rtmp.chunks import VIDEO
from tests.support.media_streams import encode
from tests.support.rtmp_certificate import make_contexts
from tests.support.rtmp_client import RtmpClient
from tests.support.rtmp_encoder import (
    Arrived,
    Demuxed,
    packets_of,
    publish,
    publish_command,
    publishing,
    send_tags,
    tags_of,
)
from tests.support.rtmp_server import PATIENT, rtmp_server
from tests.support.waiting import wait_until

PUBLISHERS = 20


def same(arrived: list[Arrived], source: list[Arrived]) -> None:
    """See that all packets arrived in order, with times that differ by the rounding to ms alone."""
    assert [packet.digest for packet in arrived] == [packet.digest for packet in source]
    assert [packet.key for packet in arrived] == [packet.key for packet in source]
    for after, before in zip(arrived, source, strict=True):
        offset = arrived[0].dts - source[0].dts
        assert abs(after.dts - before.dts - offset) <= 1
        assert abs(after.pts - before.pts - offset) <= 1


@pytest.mark.parametrize(
    ("video", "audio"), [("h264-b", "aac"), ("hevc", "aac"), ("h264", "opus"), ("h264", None), (None, "aac")]
)
def test_codecs(video: str | None, audio: str | None, tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", video=video, audio=audio, seconds=3, gop=30)
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest):
        assert publish(source, f"rtmp://127.0.0.1:{server.port}/live/key") == 0
        stream = ingest.stream().wait()
    assert stream.publication.end_reason == "unpublished"
    (arrived,) = demuxed.runs["key"]
    expected = packets_of(source)
    assert arrived.keys() == expected.keys()
    for kind, found in arrived.items():
        same(found, expected[kind])


def test_twenty_publishers_at_once_without_one_lost_packet(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", seconds=3, gop=30, size="640x360", more=("-b:v", "3M"))
    expected, demuxed = packets_of(source), Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest):
        keys = [f"key-{index}" for index in range(PUBLISHERS)]
        commands = [publish_command(source, f"rtmp://127.0.0.1:{server.port}/live/{key}") for key in keys]
        with publishing(commands) as running:
            assert [process.wait(120) for process in running] == [0] * PUBLISHERS
        for key in keys:
            ingest.stream(key).wait()
    for key in keys:
        (arrived,) = demuxed.runs[key]
        for kind, found in expected.items():
            same(arrived[kind], found)


def test_a_wrong_key_is_refused_before_media(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", seconds=1, gop=30)
    with rtmp_server() as (server, ingest):
        assert publish(source, f"rtmp://127.0.0.1:{server.port}/live/wrong") != 0
        assert ingest.streams == []
        assert len(ingest.asked) == 1


def test_a_killed_encoder_ends_its_stream_and_may_come_back(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", seconds=8, gop=30)
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest):
        url = f"rtmp://127.0.0.1:{server.port}/live/key"
        with publishing([publish_command(source, url)]) as (encoder,):
            stream = ingest.stream()
            wait_until(lambda: stream.publication.bytes_received > 20_000)
            encoder.send_signal(signal.SIGKILL)
            stream.wait()
        assert stream.publication.end_reason == "disconnected"
        assert publish(source, url) == 0
        ingest.stream().wait()
    first, second = demuxed.runs["key"]
    assert first["video"]
    same(second["video"], packets_of(source)["video"])


def test_arguments_of_kaltura_encoders_arrive(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", seconds=1, gop=30)
    with rtmp_server() as (server, ingest):
        url = f"rtmp://127.0.0.1:{server.port}/kLive/?p=102&e=0_abc&i=1&t=tok/0_abc_2"
        assert publish(source, url) == 0
        ingest.stream("0_abc_2").wait()
    request = ingest.asked[0]
    assert request.app == "kLive"
    assert dict(request.args) == {"p": "102", "e": "0_abc", "i": "1", "t": "tok"}


def test_rtmps(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.mp4", seconds=2, gop=30)
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed, tls=make_contexts(tmp_path)[0]) as (server, ingest):
        assert publish(source, f"rtmps://127.0.0.1:{server.port}/live/key", "-tls_verify", "0") == 0
        ingest.stream().wait()
    (arrived,) = demuxed.runs["key"]
    for kind, found in packets_of(source).items():
        same(arrived[kind], found)


def sources(folder: Path) -> tuple[Path, Path]:
    """Encode an H.264 and an HEVC file."""
    return (
        encode(folder / "avc.flv", video="h264-b", seconds=2, gop=30),
        encode(folder / "hevc.flv", video="hevc", seconds=2, gop=30, size="256x144"),
    )


def test_a_change_of_codec_is_a_new_run_for_the_demuxer(tmp_path: Path) -> None:
    avc, hevc = sources(tmp_path)
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        send_tags(client, tags_of(avc))
        send_tags(client, [(kind, at + 2000, body) for kind, at, body in tags_of(hevc)])
        client.socket.shutdown(socket.SHUT_WR)
        ingest.stream().wait()
    first, second = demuxed.runs["key"]
    for arrived, source in ((first, avc), (second, hevc)):
        for kind, found in packets_of(source).items():
            same(arrived[kind], found)
    assert second["video"][0].dts >= 2000


def test_hevc_in_the_older_codec_id_12(tmp_path: Path) -> None:
    _, hevc = sources(tmp_path)
    older = []
    for kind, at, body in tags_of(hevc):
        if kind == VIDEO and body[0] & 0x80:
            packet, frame_type = body[0] & 0x0F, body[0] & 0x70
            time = {0: bytes(3), 1: body[5:8], 3: bytes(3)}.get(packet)
            if time is None:
                continue
            rest = body[8:] if packet == 1 else body[5:]
            body = bytes((frame_type | 12, min(packet, 1))) + time + rest  # noqa: PLW2901  one form for the other
        older.append((kind, at, body))
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        send_tags(client, older)
        client.socket.shutdown(socket.SHUT_WR)
        ingest.stream().wait()
    (arrived,) = demuxed.runs["key"]
    same(arrived["video"], packets_of(hevc)["video"])


@pytest.mark.parametrize("before_wrap", [1000, 100_000])
def test_timestamps_wrap(before_wrap: int, tmp_path: Path) -> None:
    """Packets go on across 2**32 ms, and their differences modulo 2**32 stay right."""
    avc, _ = sources(tmp_path)
    tags = tags_of(avc)
    jump = before_wrap - 1000  # the second half comes so much later
    moved = [(kind, at - before_wrap + (jump if at >= 1000 else 0), body) for kind, at, body in tags]
    demuxed = Demuxed()
    with rtmp_server(PATIENT, record=demuxed) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        send_tags(client, moved)
        client.socket.shutdown(socket.SHUT_WR)
        ingest.stream().wait()
    (arrived,) = demuxed.runs["key"]
    video, expected = arrived["video"], packets_of(avc)["video"]
    assert [packet.digest for packet in video] == [packet.digest for packet in expected]
    for after, source in zip(video, expected, strict=True):
        gone = source.dts - expected[0].dts
        late = jump if source.dts >= 1000 else 0
        assert (after.dts - video[0].dts - gone - late) % 2**32 == 0
