"""Silent, lying, vanishing and too many callers: each ends cleanly, and the others do not notice."""

from __future__ import annotations

import os
import random
import socket
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from services.ingester.srt import SrtError, SrtGrant, SrtLimits, SrtListener, SrtPublication, SrtRequest
from shared.runtime.clock import SystemClock
from shared.srt.caller import CallOptions
from shared.srt.constants import Reject
from shared.srt.errors import SrtRefused
from tests.support.srt_caller import SrtCaller, call, refused
from tests.support.srt_ingest import PASSPHRASE, Ingest, assert_whole, finished, ingest, make_ts, push, wait_for


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ts(tmp_path_factory.mktemp("srt") / "source.ts", seconds=2)


def knock(port: int, streamid: str) -> bool:
    """Try once more; tell whether it was let in."""
    try:
        call(port, streamid).close()
    except SrtRefused:
        return False
    return True


def datagrams(seed: int) -> list[bytes]:
    """Garbage of many kinds: noise, and what begins like SRT's own packets (draft-sharabayko-srt-01, 3)."""
    chance = random.Random(seed)
    handshake = bytes.fromhex("80000000000000000000000000000000")
    found = [b"", b"\0", b"\x80", b"GET / HTTP/1.1\r\n\r\n"]
    for _ in range(300):
        noise = chance.randbytes(chance.randrange(1, 1500))
        found.append(chance.choice([noise, handshake + noise, b"\x80\0" + noise, b"\x7f" + noise, bytes(16) + noise]))
    induction = handshake + bytes.fromhex("000000040000000212345678000005dc00002000000000010000abcd")
    return [
        *found,
        induction + bytes(20),
        (induction + bytes(20))[:40],
        induction.replace(b"\x01", b"\xff") + bytes(900),
    ]


def test_garbage_datagrams_disturb_nobody(source: Path) -> None:
    with ingest({"cam": PASSPHRASE}) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
        process = push(server.port, source, "cam", PASSPHRASE)
        wait_for(lambda: bool(server.received), "media flows")
        for seed in range(5):
            for datagram in datagrams(seed):
                noisy.sendto(datagram, ("127.0.0.1", server.port))
        code, said = finished(process)
        assert code == 0, said
        assert_whole(server.ended("cam").data, source.read_bytes())
        assert len(server.received) == 1
        call(server.port, "cam", PASSPHRASE).close()  # and it still answers


def test_a_caller_that_says_nothing_is_sent_away(source: Path) -> None:
    limits = SrtLimits(silence=timedelta(milliseconds=700))
    with ingest({"mute": None, "cam": None}, limits) as server:
        with call(server.port, "mute"):
            code, said = finished(push(server.port, source, "cam"))
            assert code == 0, said
            assert server.ended("mute").reason == "silent"
        assert_whole(server.ended("cam").data, source.read_bytes())


def test_a_caller_that_falls_silent_is_sent_away(source: Path) -> None:
    data = source.read_bytes()[: 1316 * 20]
    with ingest({"cam": None}, SrtLimits(silence=timedelta(milliseconds=700))) as server, call(server.port) as caller:
        caller.send(data)
        entry = server.ended("cam")
        assert entry.reason == "silent"
        assert entry.data == data


def test_what_is_not_a_transport_stream_is_refused(source: Path) -> None:
    with ingest({"liar": None, "cam": None}) as server:
        with call(server.port, "liar") as liar:
            liar.send(os.urandom(1316 * 40))
            assert server.ended("liar").reason == "not_mpegts"
            assert not server.only("liar").data
        code, said = finished(push(server.port, source, "cam"))
        assert code == 0, said
        assert_whole(server.ended("cam").data, source.read_bytes())


def test_a_stream_that_begins_amid_a_packet_is_taken(source: Path) -> None:
    data = source.read_bytes()[100 : 100 + 1316 * 20]
    with ingest({"cam": None}) as server:
        with call(server.port) as caller:
            caller.send(data)
            assert caller.flush(timedelta(seconds=30))
        assert server.ended("cam").data == data


def test_no_more_callers_than_allowed() -> None:
    with ingest({"cam": None}, SrtLimits(max_publications=2)) as server:
        first, second = call(server.port), call(server.port)
        wait_for(lambda: len(server.received) == 2, "two are in")
        with pytest.raises(SrtRefused) as refused:
            call(server.port)
        assert refused.value.reason == Reject.OVERLOAD
        first.close()
        wait_for(lambda: len(server.listener.publications()) == 1, "one has left")
        call(server.port).close()
        second.close()


def test_who_is_known_does_not_wait_behind_those_who_must_be_asked_about() -> None:
    """The broker is away, and strangers come with ids that nobody has."""
    answer = threading.Event()

    def authorize(request: SrtRequest) -> SrtGrant | None:
        if request.resource == "cam":
            return SrtGrant(label="cam")
        assert answer.wait(60)
        return None

    kept = Ingest({}, SrtLimits())
    limits = SrtLimits(answer_within=timedelta(milliseconds=100))
    listener = SrtListener(
        "127.0.0.1", 0, authorize, kept.on_publish, limits, SystemClock(), known=lambda r: r.resource == "cam"
    )
    listener.start()
    try:
        for number in range(30):
            assert refused(listener.port, f"stranger {number}") == Reject.DOWN
        call(listener.port, "cam").close()
    finally:
        answer.set()
        assert listener.stop(timedelta(seconds=30))


def test_an_error_in_authorize_refuses_and_is_survived(source: Path) -> None:
    def authorize(request: SrtRequest) -> SrtGrant | None:
        if request.resource == "boom":
            raise KeyError(request.raw)
        return SrtGrant()

    seen = threading.Event()

    def on_publish(publication: SrtPublication) -> None:
        if publication.read(188):
            seen.set()

    listener = SrtListener("127.0.0.1", 0, authorize, on_publish, SrtLimits(), SystemClock())
    listener.start()
    try:
        with pytest.raises(SrtRefused) as refused:
            call(listener.port, "boom")
        assert refused.value.reason == Reject.INTERNAL
        with call(listener.port, "fine") as caller:
            caller.send(source.read_bytes()[:13160])
            assert seen.wait(30)
    finally:
        assert listener.stop(timedelta(seconds=30))


def test_a_slow_answer_holds_up_nobody_and_serves_the_next_try(source: Path) -> None:
    answer = threading.Event()

    def authorize(request: SrtRequest) -> SrtGrant | None:
        if request.resource != "quick":
            assert answer.wait(30)
        return SrtGrant(label=request.resource)

    kept = Ingest({}, SrtLimits())
    limits = SrtLimits(answer_within=timedelta(milliseconds=200))
    listener = SrtListener("127.0.0.1", 0, authorize, kept.on_publish, limits, SystemClock())
    listener.start()
    try:
        process = push(listener.port, source, "quick")
        wait_for(lambda: bool(kept.received), "media flows")
        for name in ("slow", "other"):
            with pytest.raises(SrtRefused) as refused:
                call(listener.port, name)
            assert refused.value.reason == Reject.DOWN
        code, said = finished(process)
        assert code == 0, said
        assert_whole(kept.ended("quick").data, source.read_bytes())
        answer.set()
        for name in ("slow", "other", "slow"):
            wait_for(partial(knock, listener.port, name), f"{name} is let in")
    finally:
        answer.set()
        assert listener.stop(timedelta(seconds=30))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_in_on_publish_disconnects_that_caller_alone(source: Path) -> None:
    with ingest({"cam": None, "other": None}) as server:
        keep = server.listener._on_publish

        def on_publish(publication: SrtPublication) -> None:
            if publication.grant.label == "cam":
                raise ValueError("the demuxer broke")
            keep(publication)

        server.listener._on_publish = on_publish
        process = push(server.port, source, "other")
        with call(server.port) as caller:
            data = source.read_bytes()
            with pytest.raises(SrtError):
                caller.send(data * 100)
        code, said = finished(process)
        assert code == 0, said
        assert_whole(server.ended("other").data, source.read_bytes())


def test_stop_ends_everyone_and_frees_the_port(source: Path) -> None:
    with ingest({"cam": None}) as server:
        process = push(server.port, source, "cam", rate=1)
        wait_for(lambda: bool(server.received and server.received[0].data), "media flows")
        assert server.listener.stop(timedelta(seconds=30))
        assert server.received[0].ended.is_set()
        assert server.received[0].reason == "closed"
        finished(process)
        with pytest.raises(SrtRefused):
            SrtCaller(
                "127.0.0.1", server.port, CallOptions(streamid="cam", connect_timeout=timedelta(milliseconds=500))
            )
        again = SrtListener("127.0.0.1", server.port, server.authorize, server.on_publish, SrtLimits(), SystemClock())
        again.start()
        try:
            call(server.port).close()
        finally:
            assert again.stop(timedelta(seconds=30))


def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        listener = SrtListener("127.0.0.1", port, lambda _: None, lambda _: None, SrtLimits(), SystemClock())
        with pytest.raises(SrtError, match=f"127.0.0.1:{port}.*Address already in use"):
            listener.start()
        assert listener.stop(timedelta(seconds=1))


def test_ipv6_callers_are_heard() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    came = threading.Event()
    hosts: list[str] = []

    def on_publish(publication: SrtPublication) -> None:
        hosts.append(publication.peer.host)
        came.set()

    listener = SrtListener("::1", 0, lambda _: SrtGrant(), on_publish, SrtLimits(), SystemClock())
    listener.start()
    try:
        SrtCaller("::1", listener.port, CallOptions(streamid="x")).close()
        assert came.wait(30)
        assert hosts == ["::1"]
    finally:
        assert listener.stop(timedelta(seconds=30))
