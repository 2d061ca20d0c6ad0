"""Receivers that answer badly, come late, come twice or never, and targets that change while all runs."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.runtime.clock import SystemClock
from tests.support.media_streams import encode
from tests.support.restream_targets import (
    SECRET,
    digests,
    ffmpeg_srt,
    free_port,
    has_failed,
    is_live,
    needs_srt,
    settle,
    spec,
    targets,
    written,
)  # fmt: skip
from tests.support.restream_units import play, units_of
from tests.support.rtmp_server import record_flv, rtmp_server
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with B-frames and sound, a keyframe each second."""
    return encode(tmp_path_factory.mktemp("source") / "source.mp4", video="h264-b", seconds=4, gop=30)


@contextmanager
def half_a_server(words: bytes, *, dripping: bool = False) -> Iterator[int]:
    """Accept connections, say some words, and no more; or a byte of them now and then."""
    over = threading.Event()

    def serve(guest: socket.socket) -> None:
        with guest, suppress(OSError):
            for piece in [bytes((byte,)) for byte in words] if dripping else [words]:
                guest.sendall(piece)
                if dripping and over.wait(0.02):
                    return
            over.wait()

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                guest, _ = server.accept()
                threading.Thread(target=serve, args=(guest,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("words", "dripping", "why"),
    [
        (b"\3", False, "did not answer in time"),
        (b"\3" + bytes(3072), True, "did not answer in time"),
        (b"\3" + bytes(3072), False, "did not answer in time"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "does not speak RTMP"),
    ],
    ids=["half-open", "dripping", "silent-afterwards", "http"],
)
def test_a_handshake_that_never_ends_is_given_up(words: bytes, why: str, *, dripping: bool) -> None:
    quick = timedelta(seconds=0.5)
    with half_a_server(words, dripping=dripping) as port:
        with targets(spec(1, f"rtmp://127.0.0.1:{port}/live/hidden-key", tries=1), call_within=quick) as made:
            assert why in settle(made, 1, has_failed).error
        wait_until(lambda: not any(thread.name == "restream-call" for thread in threading.enumerate()))


def test_a_name_that_is_not_found_and_a_key_that_is_refused_are_told_without_secrets() -> None:
    def look_up(host: str, _port: int) -> list[str]:
        if host == "nowhere.example.com":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ["127.0.0.1"]

    with rtmp_server() as (server, _), capture_logs() as logs:
        known = f"rtmp://localhost:{server.port}/live"
        specs = [
            spec(1, "rtmp://nowhere.example.com/live/hidden-1?token=hidden-2"),
            spec(2, f"{known}/wrong-hidden-3?token=hidden-4", tries=1),
            spec(3, "srt://nowhere.example.com:9000?passphrase=hidden-passphrase&streamid=hidden-5"),
        ]
        with targets(*specs, lookup=look_up) as made:
            for number in (1, 3):
                assert "the name was not found" in settle(made, number, has_failed).error
            assert "refused" in settle(made, 2, has_failed).error
            assert "hidden" not in str(made.states()) + str(logs)


def test_targets_come_and_go_while_others_play_on(source: Path, tmp_path: Path) -> None:
    units = list(units_of(source, loops=3))
    third = len(units) // 3
    with rtmp_server(record=record_flv) as (server, ingest):
        stays, goes, comes = (
            spec(n, f"rtmp://127.0.0.1:{server.port}/live/{key}") for n, key in enumerate(("key", "goes", "comes"))
        )
        with targets(stays, goes) as made:
            settle(made, 0, is_live)
            settle(made, 1, is_live)
            play(made, units[:third], speed=8)
            made.set_targets([comes, stays])
            assert [status.target for status in made.states()][:2] == [comes.target, stays.target]
            ended = ingest.stream("goes")
            wait_until(lambda: (made.tick(), ended.done.is_set())[1])
            settle(made, 2, is_live)
            for unit in units[third : 2 * third]:
                made.feed([unit])
            made.set_targets([comes, stays, goes])  # back again
            settle(made, 1, is_live)
            for unit in units[2 * third :]:
                made.feed([unit])
            kept = settle(made, 0, is_live)
            assert (kept.connects, kept.dropped) == (1, 0)
        streams = {key: ingest.stream(key).wait() for key in ("key", "goes", "comes")}
    whole = digests(source)
    assert digests(written(ended, tmp_path)) == whole
    assert digests(written(streams["key"], tmp_path)) == whole * 3
    assert digests(written(streams["comes"], tmp_path)) == whole[-30:] + whole * 2  # from the last keyframe on
    assert digests(written(streams["goes"], tmp_path)) == whole[-30:] + whole


@needs_srt
def test_a_second_caller_is_sent_away_and_welcome_when_the_first_has_gone(source: Path, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    calling = f"srt://127.0.0.1:{port}?mode=caller&passphrase={SECRET}&connect_timeout=60000000"
    door = spec(1, f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}&latency=400")
    outs = [tmp_path / f"{n}.ts" for n in range(3)]
    receivers: list[subprocess.Popen[bytes]] = []
    endless = units_of(source, loops=100)
    clock = SystemClock()
    try:
        with targets(door, srt_ports=(range(port, port + 1),)) as made:
            settle(made, 1, lambda status: status.error == "nobody has called yet")
            receivers.append(ffmpeg_srt(calling, outs[0]))
            settle(made, 1, is_live)
            receivers.append(ffmpeg_srt(calling, outs[1]))
            began_ns = clock.monotonic_ns()

            def go_on() -> None:
                """Feed what is due."""
                for unit in endless:
                    made.feed([unit])
                    if unit.dts * 625 // 441 > clock.monotonic_ns() - began_ns:
                        return

            def feed_until(done: Callable[[], bool]) -> None:
                wait_until(lambda: (go_on(), made.tick(), done())[2])

            feed_until(lambda: receivers[1].poll() is not None)
            assert receivers[1].returncode != 0
            assert made.states()[0].state == "live"
            feed_until(lambda: outs[0].exists() and outs[0].stat().st_size > 50_000)
            receivers[0].terminate()
            feed_until(lambda: made.states()[0].error == "the caller has gone")
            receivers.append(ffmpeg_srt(calling, outs[2]))
            feed_until(lambda: is_live(made.states()[0]))
            feed_until(lambda: outs[2].exists() and outs[2].stat().st_size > 50_000)
        receivers[2].wait(60)
        frames = digests(outs[2])
        whole = digests(source) * 3
        assert frames
        assert any(frames[:40] == whole[at : at + 40] for at in range(0, 120, 30))  # from a keyframe on, none missing
    finally:
        for receiver in receivers:
            receiver.kill()
            receiver.wait()
