"""The RTMP server among peers that are silent, slow, lying or garbage."""

from __future__ import annotations

import dataclasses
import random
import socket
import threading
from collections import deque
from contextlib import suppress
from datetime import timedelta

import psutil
import pytest

from shared.rtmp.amf import encode
from shared.rtmp.chunks import (
    AUDIO,
    DATA_AMF0,
    USER_CONTROL,
    VIDEO,
)
from tests.support.rtmp_client import (
    RtmpClient,
    chunked,
    video_frame,
)
from tests.support.rtmp_server import HOUR, QUICK, SteppedClock, last_frame, rtmp_server
from tests.support.waiting import wait_until


def test_a_silent_publisher_ends() -> None:
    clock = SteppedClock()
    with rtmp_server(clock=clock) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(3))
        stream = ingest.stream()
        wait_until(lambda: last_frame(stream) == 2)
        clock.step(HOUR + HOUR)
        stream.wait()
        assert client.is_closed()
    assert stream.publication.end_reason == "silent"


def test_a_publisher_that_stops_inside_a_chunk_ends() -> None:
    clock = SteppedClock()
    with rtmp_server(clock=clock) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames(range(2))
        client.send(chunked(VIDEO, 99, video_frame(9, 4000))[:700])
        stream = ingest.stream()
        wait_until(lambda: last_frame(stream) == 1)
        clock.step(HOUR + HOUR)
        stream.wait()
        assert client.is_closed()
    assert [number for _, number in stream.numbered()] == [0, 1]


def test_a_dripping_publisher_is_as_good_as_silent() -> None:
    clock = SteppedClock()
    with rtmp_server(clock=clock) as (server, ingest), RtmpClient(server.port) as client:
        client.publish()
        client.headers()
        client.frames([0])
        stream = ingest.stream()
        wait_until(lambda: last_frame(stream) == 0)
        drip = chunked(USER_CONTROL, 0, b"\0\3\0\0\0\1\0\0\0\0", stream=2, message_stream=0)
        while not stream.done.wait(0.05):
            client.send(drip)
            clock.step(timedelta(minutes=10))
        assert stream.publication.end_reason == "silent"


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"\x03",
        b"\x03" + bytes(1000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        random.Random(7).randbytes(20_000),
        b"\x03" + random.Random(8).randbytes(50_000),
    ],
)
def test_what_is_no_publisher_is_closed(opening: bytes) -> None:
    clock = SteppedClock()
    with (
        rtmp_server(clock=clock) as (server, ingest),
        RtmpClient(server.port, timeout=timedelta(milliseconds=100)) as client,
    ):
        client.send(opening)

        def is_closed() -> bool:
            clock.step(HOUR)  # again and again: it may not even be accepted yet
            try:
                return client.is_closed()
            except TimeoutError:
                return False

        wait_until(is_closed)
        assert ingest.asked == []


def commands_without_end(client: RtmpClient) -> None:
    client.connect()
    flood = chunked(20, 0, encode("releaseStream", 2.0, None, "x" * 100), stream=3) * 20
    while True:
        client.send(flood)


def data_without_end(client: RtmpClient) -> None:
    client.publish()
    flood = chunked(DATA_AMF0, 0, encode("onTextData", "x" * 1000), stream=3) * 20
    while True:
        client.send(flood)


def empty_messages_without_end(client: RtmpClient) -> None:
    client.publish()
    client.send(chunked(AUDIO, 0, b""))
    while True:
        client.send(b"\xc4" * 10_000)


def pings_whose_answers_are_not_read(client: RtmpClient) -> None:
    client.publish()
    while True:
        client.send(chunked(USER_CONTROL, 0, b"\0\6\0\0\0\1", stream=2, message_stream=0) * 500)


def a_message_that_is_too_large(client: RtmpClient) -> None:
    client.publish()
    client.send(b"\x04\0\0\0\xff\xff\xff\x09\1\0\0\0")
    while True:
        client.send(bytes(65536))


def garbage_after_publish(client: RtmpClient) -> None:
    client.publish()
    client.headers()
    client.frames(range(3))
    noise = random.Random(9)
    while True:
        client.send(noise.randbytes(10_000))


@pytest.mark.parametrize(
    "attack",
    [
        commands_without_end,
        data_without_end,
        empty_messages_without_end,
        pings_whose_answers_are_not_read,
        a_message_that_is_too_large,
        garbage_after_publish,
    ],
)
def test_hostile_peers_are_closed_and_others_go_on(attack: object) -> None:
    limits = dataclasses.replace(QUICK, message=1 << 20)
    with rtmp_server(limits) as (server, ingest), RtmpClient(server.port) as good:
        good.publish("good")
        good.headers()
        before = psutil.Process().memory_info().rss
        with RtmpClient(server.port) as bad, pytest.raises((ConnectionError, AssertionError)):
            attack(bad)
        good.frames(range(5))
        good.socket.shutdown(socket.SHUT_WR)
        assert len(ingest.stream("good").wait().numbered()) == 5
        assert psutil.Process().memory_info().rss - before < 64 << 20


def test_idle_connections_make_room_for_publishers() -> None:
    limits = dataclasses.replace(QUICK, unpublished=8)
    with rtmp_server(limits) as (server, ingest):
        idle = [RtmpClient(server.port) for _ in range(20)]
        with RtmpClient(server.port) as client:
            client.publish()
            client.headers()
            client.frames(range(2))
            client.socket.shutdown(socket.SHUT_WR)
            assert len(ingest.stream().wait().numbered()) == 2
        for connection in idle[:12]:
            assert connection.is_closed()
        for connection in idle:
            connection.socket.close()


def silent_without_end(port: int, stop: threading.Event, hosts: list[str], came: list[int]) -> None:
    """Open silent connections, again and again, from many addresses."""
    kept: deque[socket.socket] = deque(maxlen=200)
    while not stop.is_set():
        for host in hosts:
            with suppress(OSError):
                kept.append(socket.create_connection(("127.0.0.1", port), 10, source_address=(host, 0)))
                came[0] += 1
    for connection in kept:
        connection.close()


def test_silent_connections_that_are_renewed_keep_no_publisher_out() -> None:
    """More of them than may wait, from several addresses, as fast as they can; publishers come from another one."""
    limits = dataclasses.replace(QUICK, unpublished=16, unpublished_each=16)
    stop, came = threading.Event(), [0]
    with rtmp_server(limits) as (server, ingest):
        hosts = [f"127.0.7.{number}" for number in range(1, 5)]
        flood = threading.Thread(target=silent_without_end, args=(server.port, stop, hosts, came))
        flood.start()
        try:
            wait_until(lambda: came[0] > 100)
            for number in range(5):
                before = came[0]
                with RtmpClient(server.port) as client:
                    client.publish(f"key{number}")
                    client.headers()
                    client.frames(range(2))
                    wait_until(lambda before=before: came[0] > before + 32)  # it goes on: the publisher stays
                    client.frames(range(2, 4))
                    client.socket.shutdown(socket.SHUT_WR)
                    assert len(ingest.stream(f"key{number}").wait().numbered()) == 4
        finally:
            stop.set()
            flood.join()


def test_a_handshake_has_a_deadline_of_its_own() -> None:
    clock = SteppedClock()
    limits = dataclasses.replace(QUICK, handshake=timedelta(minutes=1))
    with rtmp_server(limits, clock=clock) as (server, _), RtmpClient(server.port) as shaken:
        shaken.connect()
        with RtmpClient(server.port, timeout=timedelta(milliseconds=100)) as client:
            client.send(b"\x03" + bytes(1000))

            def is_closed() -> bool:
                clock.step(timedelta(seconds=5))  # again and again: it may not even be accepted yet
                try:
                    return client.is_closed()
                except TimeoutError:
                    return False

            wait_until(is_closed)
        shaken.command("createStream", 2.0, None)
        assert shaken.answer("_result")[3] == 1.0


PING = chunked(USER_CONTROL, 0, b"\0\6\0\0\0\1", stream=2, message_stream=0)


def test_before_a_publish_just_so_many_bytes_are_taken() -> None:
    """Media costs no allowance of what is not media: the bytes themselves are counted."""
    limits = dataclasses.replace(QUICK, setup_bytes=40_000)
    with rtmp_server(limits) as (server, ingest), RtmpClient(server.port) as client:
        client.connect()
        room = limits.setup_bytes - 2_000  # of which connect has taken some
        client.send(b"".join(chunked(AUDIO, 0, bytes(100)) for _ in range(room // 112)) + PING)
        client.wait_for(USER_CONTROL)
        assert not ingest.asked
        with suppress(ConnectionError):
            client.send(b"".join(chunked(AUDIO, 0, bytes(100)) for _ in range(20)) + PING)
        assert client.is_closed()


def test_connections_are_limited() -> None:
    limits = dataclasses.replace(QUICK, connections=1)
    with rtmp_server(limits) as (server, ingest):
        with RtmpClient(server.port) as first:
            first.publish()
            ingest.stream()
            with RtmpClient(server.port) as second:
                assert second.is_closed()

        def try_again() -> bool:
            with RtmpClient(server.port) as third:
                third.send(b"\x03" + bytes(1536))
                try:
                    return bool(third.socket.recv(1))
                except ConnectionError:
                    return False

        wait_until(try_again)
