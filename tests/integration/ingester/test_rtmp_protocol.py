"""The RTMP server and well-behaved clients of many makes."""

from __future__ import annotations

import dataclasses
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.ingester.refusals import Why
from services.ingester.rtmp import Publication, PublishRefused, PublishRequest, RtmpServer
from shared.rtmp.amf import encode
from shared.rtmp.chunks import (
    ACKNOWLEDGEMENT,
    AGGREGATE,
    AUDIO,
    COMMAND_AMF3,
    DATA_AMF0,
    DATA_AMF3,
    SET_CHUNK_SIZE,
    USER_CONTROL,
    VIDEO,
    WINDOW_ACK_SIZE,
)
from tests.support import media_flv as flv
from tests.support.rtmp_certificate import make_contexts
from tests.support.rtmp_client import (
    AAC_HEADER,
    AVC_HEADER,
    METADATA,
    RtmpClient,
    chunked,
    set_chunk_size,
    video_frame,
)
from tests.support.rtmp_server import LIMIT, QUICK, SteppedClock, Stream, last_frame, rtmp_server
from tests.support.waiting import wait_until


def test_a_publishers_frames_are_read() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(10))
        client.command("FCUnpublish", 6.0, None, "key")
        client.command("deleteStream", 7.0, None, 1.0)
        stream = ingest.stream().wait()
        assert client.answer("onStatus")[3]["code"] == "NetStream.Unpublish.Success"
        assert client.is_closed()
    assert stream.numbered() == [(number * 40, number) for number in range(10)]
    assert stream.publication.end_reason == "unpublished"
    assert stream.publication.codecs == ("avc1",)
    assert stream.publication.grant == "key"


def test_connect_tells_what_the_server_takes() -> None:
    with rtmp_server() as (server, _), RtmpClient(server.port) as client:
        client.shake_hands()
        client.command("connect", 1.0, {"app": "live", "tcUrl": "rtmp://h/live", "fourCcList": ["hvc1"]})
        assert client.wait_for(WINDOW_ACK_SIZE) == (2_500_000).to_bytes(4, "big")
        assert client.wait_for(SET_CHUNK_SIZE) == (65536).to_bytes(4, "big")
        info = client.answer("_result")[3]
        assert info["code"] == "NetConnection.Connect.Success"
        video, sound = ["avc1", "hvc1", "av01", "vp09"], ["mp4a", "Opus", "fLaC", ".mp3", "ac-3", "ec-3"]
        assert info["fourCcList"] == [*video, *sound], "what is recorded, and nothing else"
        assert set(info["videoFourCcInfoMap"]) == set(video)
        assert set(info["audioFourCcInfoMap"]) == set(sound)
        assert info["capsEx"] == 4.0
        client.command("_checkbw", 2.0, None)
        assert client.answer("_result")[1] == 2.0


def test_a_wrong_key_is_refused_before_media_and_never_logged() -> None:
    with capture_logs() as lines, rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        info = client.ask("wrong-secret?t=token-secret", tc_url="rtmp://h/live?t=url-secret")
        assert (info["level"], info["code"]) == ("error", "NetStream.Publish.Denied")
        assert client.is_closed()
        assert ingest.streams == []
        assert ingest.asked[0].stream_name == "wrong-secret"
    assert "secret" not in repr(lines)
    assert "rtmp.publish.refused" in {line["event"] for line in lines}


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("no_key", "NetStream.Publish.Denied"), ("ambiguous", "NetStream.Publish.Denied"),
        ("unknown", "NetStream.Publish.Denied"), ("over", "NetStream.Publish.Denied"),
        ("taken", "NetStream.Publish.BadName"), ("disk_full", "NetStream.Failed"), ("later", "NetStream.Failed"),
    ],
)  # fmt: skip
def test_the_reason_of_a_refusal_is_told(why: Why, code: str) -> None:
    def authorize(_: PublishRequest) -> str:
        raise PublishRefused("the event is over", why)

    server = RtmpServer("127.0.0.1", 0, authorize, lambda _: None, QUICK)
    server.start()
    try:
        with RtmpClient(server.port) as client:
            info = client.ask()
            assert "the event is over" in str(info["description"])
            assert (info["level"], info["code"]) == ("error", code)
            assert client.is_closed()
    finally:
        assert server.stop(LIMIT)


def test_a_broken_authorizer_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def authorize(_: PublishRequest) -> str:
        raise KeyError("key")

    server = RtmpServer("127.0.0.1", 0, authorize, lambda _: None, QUICK)
    server.start()
    try:
        with RtmpClient(server.port) as client:
            assert client.ask()["code"] == "NetStream.Publish.Denied"
            assert client.is_closed()
    finally:
        assert server.stop(LIMIT)
    assert [hook.exc_type for hook in seen] == [KeyError]  # a fault of ours is not hidden


def test_every_grant_is_handed_over_even_when_the_peer_has_gone() -> None:
    deciding, decide = threading.Event(), threading.Event()
    handed: list[str] = []

    def authorize(_: PublishRequest) -> str:
        deciding.set()
        assert decide.wait(30)
        return "grant"

    def on_publish(publication: Publication[str]) -> None:
        assert [frame for batch in publication.frames() for frame in batch.frames] == []
        handed.append(publication.grant)

    server = RtmpServer("127.0.0.1", 0, authorize, on_publish, QUICK)
    server.start()
    try:
        with RtmpClient(server.port) as client:
            client.connect()
            client.command("publish", 5.0, None, "key", "live")
            assert deciding.wait(30)
        decide.set()
        wait_until(lambda: handed == ["grant"])
    finally:
        assert server.stop(LIMIT)


def test_unreadable_data_ends_no_stream() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        for raw in (b"", b"\x99", b"\x02\xff", b"\x0a" * 50, encode("onFI", "x" * 100_000)):
            client.send(chunked(DATA_AMF0, 0, raw) + chunked(20, 0, raw, stream=3))
        client.frames(range(3))
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
    assert [number for _, number in stream.numbered()] == [0, 1, 2]
    assert stream.publication.end_reason == "disconnected"


def test_split_byte_by_byte() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.publish()
        data = chunked(DATA_AMF0, 0, METADATA) + chunked(VIDEO, 0, AVC_HEADER)
        data += b"".join(chunked(VIDEO, n * 40, video_frame(n)) for n in range(4))
        for byte in data:
            client.send(bytes((byte,)))
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
    assert stream.numbered() == [(n * 40, n) for n in range(4)]
    assert stream.publication.end_reason == "disconnected"


def test_media_sent_together_with_publish_is_kept() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.connect()
        client.command("createStream", 2.0, None)
        client.answer("_result")
        hasty = chunked(20, 0, encode("publish", 3.0, None, "key", "live"), stream=3)
        hasty += chunked(DATA_AMF0, 0, METADATA) + chunked(VIDEO, 0, AVC_HEADER) + chunked(VIDEO, 0, video_frame(0))
        client.send(hasty)
        assert client.answer("onStatus")[3]["code"] == "NetStream.Publish.Start"
        client.frames([1])
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
    assert stream.numbered() == [(0, 0), (40, 1)]


def test_pings_are_answered_and_bytes_acknowledged() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.send(chunked(USER_CONTROL, 0, b"\0\6\1\2\3\4", stream=2, message_stream=0))
        while client.wait_for(USER_CONTROL) != b"\0\7\1\2\3\4":
            pass
        client.send(chunked(WINDOW_ACK_SIZE, 0, (4000).to_bytes(4, "big"), stream=2, message_stream=0))
        client.headers()
        client.frames(range(20))
        assert int.from_bytes(client.wait_for(ACKNOWLEDGEMENT), "big") > 2000
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
        assert len(stream.numbered()) == 20


def test_other_forms_of_messages() -> None:
    """AMF3 wrappers, aggregates, timed data, and times that need 32 bits and wrap."""
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.send(set_chunk_size(4096))
        client.send(chunked(DATA_AMF3, 0, b"\0" + METADATA, size=4096) + chunked(VIDEO, 0, AVC_HEADER, size=4096))
        parts = b"".join(flv.encode(flv.Tag(VIDEO, 500 + n, video_frame(n))) for n in range(3))
        client.send(chunked(AGGREGATE, 0xFFFFFFFE, parts, size=4096))
        client.send(chunked(DATA_AMF0, 8, encode("onCuePoint", {"name": "ad"}), size=4096))
        client.send(chunked(COMMAND_AMF3, 0, b"\0" + encode("FCUnpublish", 0.0, None, "key"), size=4096))
        stream = ingest.stream().wait()
    assert stream.numbered() == [(0xFFFFFFFE, 0), (0xFFFFFFFF, 1), (1 << 32, 2)]
    assert stream.publication.end_reason == "unpublished"
    event = stream.publication.events.popleft()
    assert (event.timestamp, event.name, event.values) == (8, "onCuePoint", ({"name": "ad"},))


def test_an_aggregate_that_is_cut_short_is_damage() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(3))
        parts = b"".join(flv.encode(flv.Tag(VIDEO, 500 + n, video_frame(n))) for n in range(3))
        for cut in (5, len(parts) - 40):
            client.send(chunked(AGGREGATE, 120, parts[:cut]))
        client.frames(range(3, 6))
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
    assert [number for _, number in stream.numbered()] == list(range(6))
    assert stream.publication.damaged == 2


def test_new_codec_parameters_hold_from_the_next_frame_on() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(3))
        client.send(chunked(VIDEO, 120, AVC_HEADER[:-1] + b"\x21"))
        client.frames(range(3, 5))
        client.send(chunked(AUDIO, 200, AAC_HEADER))
        client.frames(range(5, 7))
        client.socket.shutdown(socket.SHUT_WR)
        stream = ingest.stream().wait()
    configs = [frame.config for frame in stream.frames()]
    assert [number for _, number in stream.numbered()] == list(range(7))
    assert configs[0] is configs[2] is not configs[3]
    assert configs[3] is configs[6]
    expected = [batch.contents.expected for batch in stream.batches for _ in batch.frames]
    assert expected == [{"video"}] * 5 + [{"video", "audio"}] * 2


def test_large_reads_do_not_hold_a_slow_stream_back() -> None:
    clock = SteppedClock()
    with rtmp_server(clock=clock) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        stream = ingest.stream()
        transport = stream.publication._link.transport

        def low_water() -> int:
            return transport._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

        big = chunked(VIDEO, 0, video_frame(0, 4 << 20), size=1 << 20)
        client.send(set_chunk_size(1 << 20) + big + set_chunk_size(128))
        wait_until(lambda: last_frame(stream) == 0)
        clock.step(timedelta(seconds=2))
        client.frames([1])
        wait_until(lambda: low_water() > 20_000)
        for number in range(2, 5):  # each is far below the mark, and nothing follows it
            client.frames([number])
            wait_until(lambda number=number: last_frame(stream) == number)


def test_close_from_another_thread_ends_at_once() -> None:
    limits = dataclasses.replace(QUICK, part=timedelta(seconds=50))
    with rtmp_server(limits) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(3))
        stream = ingest.stream()
        threading.Thread(target=stream.publication.close).start()
        stream.wait()
        assert client.is_closed()
    assert stream.publication.cause == "closed"


def test_stop_ends_publications() -> None:
    with rtmp_server() as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        stream = ingest.stream()
        assert server.stop(LIMIT)
        assert stream.done.is_set()


def test_a_consumer_that_returns_early_ends_the_connection() -> None:
    def read_a_little(stream: Stream) -> None:
        stream.batches.append(next(stream.publication.frames()))

    with rtmp_server(record=read_a_little) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(3))
        assert client.is_closed()
        assert ingest.stream().publication.cause == "consumer"
        assert len(ingest.stream().numbered()) <= 3


def test_rtmps(tmp_path: Path) -> None:
    server_side, client_side = make_contexts(tmp_path)
    with (
        rtmp_server(tls=server_side) as (server, ingest),
        RtmpClient(server.port, wrap=client_side) as client,
    ):
        client.publish()
        client.headers()
        client.send(set_chunk_size(65536))
        for number in range(50):
            client.send(chunked(VIDEO, number * 40, video_frame(number, 40_000), size=65536))
        client.command("deleteStream", 7.0, None, 1.0)
        stream = ingest.stream().wait()
        assert ingest.asked[0].secure
        with RtmpClient(server.port) as plain:
            plain.send(b"\x03" + bytes(1536))
            assert plain.is_closed()
    assert stream.numbered() == [(number * 40, number) for number in range(50)]
