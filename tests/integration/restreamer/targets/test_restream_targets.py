"""Targets against real receivers: nginx-rtmp, our own ingester, ffmpeg; and against receivers that misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from services.restreamer.targets import TargetRules
from tests.support.media_streams import encode, warnings
from tests.support.nginx_rtmp import missing, nginx_rtmp
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
from tests.support.rtmp_certificate import make_contexts
from tests.support.rtmp_server import StandingClock, Stream, record_flv, rtmp_server
from tests.support.waiting import wait_until

needs_nginx = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with B-frames and sound, a keyframe each second."""
    return encode(tmp_path_factory.mktemp("source") / "source.mp4", video="h264-b", seconds=4, gop=30)


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in HEVC and Opus."""
    return encode(tmp_path_factory.mktemp("modern") / "modern.mp4", video="hevc", audio="opus", seconds=4, gop=30)


@needs_nginx
def test_nginx_records_every_frame_and_is_called_again_when_it_has_died(source: Path, tmp_path: Path) -> None:
    with nginx_rtmp(tmp_path) as nginx:
        url = f"rtmp://127.0.0.1:{nginx.port}"
        with targets(spec(1, f"{url}/live/key"), spec(2, f"{url}/closed/hidden-key")) as made:
            settle(made, 1, is_live)
            refused = settle(made, 2, has_failed)
            assert "hidden-key" not in refused.error
            units = list(units_of(source, loops=3))
            third = len(units) // 3
            for unit in units[:third]:
                made.feed([unit])
            wait_until(lambda: nginx.recorded("key").exists())
            made.set_targets([])
            wait_until(lambda: (made.tick(), digests_or_none(nginx.recorded("key")) == digests(source))[1])
            made.set_targets([spec(3, f"{url}/live/again")])
            settle(made, 3, is_live)
            nginx.kill()
            lost = settle(made, 3, lambda status: status.state == "waiting")
            assert lost.error
            for unit in units[third : 2 * third]:  # nobody is there, and nothing waits for anybody
                made.feed([unit])
            nginx.again()
            back = settle(made, 3, is_live)
            assert back.connects == 2
            for unit in units[2 * third :]:
                made.feed([unit])
        recorded = nginx.recorded("again")
        # It begins with the last GOP of what was played meanwhile.
        wait_until(lambda: digests_or_none(recorded) == digests(source)[-30:] + digests(source))


def digests_or_none(path: Path) -> list[str] | None:
    """Decode a file that may still be written."""
    with suppress(AssertionError):
        return digests(path)
    return None


def test_our_ingester_takes_modern_codecs_over_tls(modern: Path, tmp_path: Path) -> None:
    serving, trusting = make_contexts(tmp_path)
    with rtmp_server(tls=serving, record=record_flv) as (server, ingest):
        url = f"rtmps://localhost:{server.port}/live/key?token=hidden-token"
        with targets(spec(1, url), tls=trusting, lookup=lambda *_: ["127.0.0.1"]) as made:
            settle(made, 1, is_live)
            for unit in units_of(modern):
                made.feed([unit])
            stream = ingest.stream()
            wait_until(lambda: (made.tick(), made.states()[0].sent_bytes > modern.stat().st_size * 0.9)[1])
        stream.wait()
        assert (stream.publication.codecs, stream.publication.end_reason) == (("hvc1", "Opus"), "unpublished")
        assert stream.publication.request.args == {"token": "hidden-token"}
        assert digests(written(stream, tmp_path)) == digests(modern)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    serving, _ = make_contexts(tmp_path)
    with rtmp_server(tls=serving) as (server, _ingest):
        url = f"rtmps://localhost:{server.port}/live/key"
        with targets(spec(1, url), tls=ssl.create_default_context(), lookup=lambda *_: ["127.0.0.1"]) as made:
            assert "certificate is not trusted" in settle(made, 1, has_failed).error


def test_a_private_address_is_not_reached_even_by_name() -> None:
    with targets(spec(1, "rtmp://inside.example.com/live/key"), lookup=lambda *_: ["10.1.2.3"]) as made:
        assert "no address that may be reached" in settle(made, 1, has_failed).error


@needs_srt
@pytest.mark.parametrize("codecs", ["source", "modern"])
def test_ffmpeg_gets_every_frame_by_srt_calling_and_called(
    codecs: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    media: Path = request.getfixturevalue(codecs)
    ours, theirs = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    calling = f"srt://127.0.0.1:{ours}?mode=caller&passphrase={SECRET}&streamid=me&connect_timeout=60000000"
    listening = f"srt://127.0.0.1:{theirs}?mode=listener&passphrase={SECRET}&listen_timeout=60000000"
    outs = [tmp_path / "called.ts", tmp_path / "calling.ts"]
    specs = (
        spec(1, f"srt://127.0.0.1:{theirs}?passphrase={SECRET}&latency=400", tries=60),
        spec(2, f"srt://127.0.0.1:{ours}?mode=listener&passphrase={SECRET}&streamid=me&latency=400"),
    )
    receivers = [ffmpeg_srt(listening, outs[0])]
    try:
        with targets(*specs, srt_ports=(range(ours, ours + 1),)) as made:
            settle(made, 2, lambda status: status.error == "nobody has called yet")
            receivers.append(ffmpeg_srt(calling, outs[1]))
            settle(made, 1, is_live)
            settle(made, 2, is_live)
            play(made, units_of(media), speed=2)
        for receiver, out in zip(receivers, outs, strict=True):
            receiver.wait(60)
            assert digests(out) == digests(media)
            assert not warnings(out)
    finally:
        for receiver in receivers:
            receiver.kill()
            receiver.wait()


@needs_srt
def test_srt_callers_without_the_secret_are_sent_away_and_we_are_told_the_same(tmp_path: Path) -> None:
    ours, theirs = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    door = spec(1, f"srt://127.0.0.1:{ours}?mode=listener&passphrase={SECRET}")
    listener = ffmpeg_srt(f"srt://127.0.0.1:{theirs}?mode=listener&passphrase={SECRET}", tmp_path / "no.ts")
    try:
        wrong = spec(2, f"srt://127.0.0.1:{theirs}?passphrase=quite-another-one", tries=60)
        with targets(door, wrong, srt_ports=(range(ours, ours + 1),)) as made:
            settle(made, 1, lambda status: status.state == "waiting")
            caller = ffmpeg_srt(f"srt://127.0.0.1:{ours}?mode=caller&passphrase=quite-another-one", tmp_path / "x.ts")
            assert caller.wait(60) != 0
            assert "passphrase" in settle(made, 2, has_failed).error
            made.tick()
            assert made.states()[0].state == "waiting"
    finally:
        listener.kill()
        listener.wait()


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_bad_receivers_hold_up_no_good_one(source: Path, tmp_path: Path) -> None:
    """One refuses, one accepts and never answers, one takes the stream and stops reading: the good one gets all.

    The sockets of the bad ones stay blocked all the time, so that anything that waited for them would never end.
    """
    clock, asleep = StandingClock(), threading.Event()
    units = list(units_of(source, loops=60))

    def sleep(_stream: Stream) -> None:
        assert asleep.wait(120)

    with (
        silent_server() as mute,
        rtmp_server(record=sleep) as (sleeper, _),
        rtmp_server(record=record_flv) as (server, ingest),
    ):
        bad = [
            spec(1, f"rtmp://127.0.0.1:{free_port()}/live/refuses"),
            spec(2, f"rtmp://127.0.0.1:{mute}/live/mute"),
            spec(3, f"rtmp://127.0.0.1:{sleeper.port}/live/sleeps"),
        ]
        try:
            with targets(spec(0, f"rtmp://127.0.0.1:{server.port}/live/key"), *bad, clock=clock) as made:
                settle(made, 0, is_live)
                settle(made, 3, is_live)
                settle(made, 1, lambda status: "could not be reached" in status.error)
                for unit in units:
                    made.feed([unit])
                everything = sum(len(unit.data) for unit in units)
                settle(made, 0, lambda status: status.sent_bytes >= everything)
                stuck = settle(made, 3, is_live)
                assert stuck.sent_bytes < everything
                clock.step(TargetRules().call_within * 1.1)
                assert settle(made, 2, lambda status: bool(status.error)).error == "did not answer in time"
                given_up = settle(made, 3, lambda status: status.dropped > 0)
                assert "took too little" in given_up.error
                good = settle(made, 0, is_live)
                assert (good.connects, good.dropped) == (1, 0)
                stream = ingest.stream()
        finally:
            asleep.set()
        assert digests(written(stream.wait(), tmp_path)) == digests(source) * 60
