"""Real encoders publish over SRT: every byte arrives, and only the right ones get in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.ingester.refusals import PublishRefused, Why
from services.ingester.srt import SrtGrant, SrtLimits, SrtRequest
from shared.srt.caller import CallOptions
from shared.srt.constants import Reject
from shared.srt.errors import SrtRefused
from shared.store import StoreFull
from tests.support.srt_caller import SrtCaller, call
from tests.support.srt_ingest import (
    HANG_UP,
    PASSPHRASE,
    Ingest,
    LossyRelay,
    assert_whole,
    finished,
    ingest,
    make_ts,
    push,
    wait_for,
)

NAMES = [f"cam{n}" for n in range(4)]
STREAMS: dict[str, str | None] = {"open": None, "secret": PASSPHRASE}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ts(tmp_path_factory.mktemp("srt") / "source.ts")


@pytest.fixture(scope="module")
def listening() -> Iterator[Ingest]:
    with ingest(STREAMS, SrtLimits(refusals=1000)) as server:
        yield server


@pytest.fixture
def running(listening: Ingest) -> Ingest:
    """The listener, which no longer has what an earlier test published under the same names."""
    listening.received.clear()
    return listening


def send_all(port: int, data: bytes, streamid: str, passphrase: str | None = None) -> None:
    """Send within a latency that a busy machine keeps: what comes later than it is skipped."""
    with call(port, streamid, passphrase, timedelta(seconds=3)) as caller:
        caller.send(data)
        assert caller.flush(timedelta(seconds=30))


def test_an_open_stream_arrives_whole(running: Ingest, source: Path) -> None:
    code, said = finished(push(running.port, source, "open"))
    assert code == 0, said
    entry = running.ended("open")
    assert_whole(entry.data, source.read_bytes())
    assert entry.reason == "disconnected"
    assert entry.publication.bytes_read == len(entry.data)
    assert entry.publication.stats().latency_ms == 120


def test_callers_on_one_port_arrive_whole_side_by_side(source: Path) -> None:
    # The latency gives a machine that is busy with other things the time that a real one has.
    with ingest(dict.fromkeys(NAMES, PASSPHRASE), SrtLimits(latency=timedelta(seconds=2))) as server:
        processes = [push(server.port, source, f"#!::r={name},m=publish", PASSPHRASE) for name in NAMES]
        for process in processes:
            code, said = finished(process)
            assert code == 0, said
        for name in NAMES:
            entry = server.ended(name)
            assert_whole(entry.data, source.read_bytes())
            stats = entry.publication.stats()
            assert stats.packets_dropped == stats.packets_undecryptable == 0
            assert stats.latency_ms == 2000


@pytest.mark.parametrize(
    ("streamid", "passphrase"),
    [("secret", "another passphrase"), ("secret", None), ("nobody", None), ("open", PASSPHRASE)],
    ids=["wrong", "missing", "unknown", "unwanted"],
)
def test_a_real_caller_without_the_right_is_refused(
    running: Ingest, source: Path, streamid: str, passphrase: str | None
) -> None:
    before = len(running.received)
    with capture_logs() as lines:
        code, _ = finished(push(running.port, source, streamid, passphrase))
        wait_for(lambda: any(line["event"] == "srt.publish.refused" for line in lines), "the refusal is logged")
    assert code != 0
    assert len(running.received) == before


@pytest.mark.parametrize(
    ("streamid", "passphrase", "reason"),
    [
        ("#!::r=secret,m=publish", "another passphrase", Reject.BADSECRET),
        ("#!::r=secret,m=publish", None, Reject.UNSECURE),
        ("open", PASSPHRASE, Reject.UNSECURE),
        ("#!::r=nobody,m=publish", PASSPHRASE, Reject.FORBIDDEN),
        ("", None, Reject.FORBIDDEN),
        ("#!::r=open,m=bidirectional", None, Reject.BAD_MODE),
        ("#!::r=open,m=request", None, Reject.BAD_MODE),
        ("#!::nonsense", None, Reject.BAD_REQUEST),
        ("#!:{r=open}", None, Reject.BAD_REQUEST),
    ],
)
def test_a_refusal_tells_its_reason(running: Ingest, streamid: str, passphrase: str | None, reason: Reject) -> None:
    before = len(running.received)
    with pytest.raises(SrtRefused) as refused:
        call(running.port, streamid, passphrase)
    assert refused.value.reason == reason
    assert len(running.received) == before


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("unknown", Reject.NOT_FOUND), ("over", Reject.FORBIDDEN), ("taken", Reject.CONFLICT),
        ("disk_full", Reject.NO_ROOM), ("later", Reject.DOWN), ("ambiguous", Reject.BAD_REQUEST),
    ],
)  # fmt: skip
def test_every_refusal_has_its_reason(why: Why, reason: Reject) -> None:
    class Refusing(Ingest):
        def authorize(self, request: SrtRequest) -> SrtGrant | None:
            raise PublishRefused(f"not {request.event}", why)

    server = Refusing({}, SrtLimits())
    server.listener.start()
    try:
        with capture_logs() as lines, pytest.raises(SrtRefused) as refused:
            call(server.port, "live/0123456789abcdef0123456789abcdef")
        assert refused.value.reason == reason
        assert [line["reason"] for line in lines if line["event"] == "srt.publish.refused"] == [why]
        assert "0123456789abcdef" not in repr(lines)
    finally:
        assert server.listener.stop(timedelta(seconds=60))


def test_a_caller_is_told_that_there_is_no_room_for_its_recording() -> None:
    class Full(Ingest):
        def authorize(self, request: SrtRequest) -> SrtGrant | None:
            raise StoreFull(f"no room for {request.resource}")

    server = Full({}, SrtLimits())
    server.listener.start()
    try:
        with capture_logs() as lines, pytest.raises(SrtRefused) as refused:
            call(server.port, "open")
        assert refused.value.reason == Reject.NO_ROOM
        assert [line["reason"] for line in lines if line["event"] == "srt.publish.refused"] == ["disk_full"]
    finally:
        assert server.listener.stop(timedelta(seconds=60))


def test_no_secret_reaches_the_log(source: Path) -> None:
    secret_id = "#!::r=sk-0123456789,m=publish,k=tok-42"
    with capture_logs() as lines, ingest({"sk-0123456789": PASSPHRASE}) as server:
        for passphrase in ("another passphrase", None):
            with pytest.raises(SrtRefused):
                call(server.port, secret_id, passphrase)
        wait_for(lambda: sum(line["event"] == "srt.publish.refused" for line in lines) == 2, "refusals are logged")
        with pytest.raises(SrtRefused):
            call(server.port, "#!::r=sk-unknown,m=publish,k=tok-42")
        server.streams["sk-0123456789"] = "short"  # too short for SRT: an error of ours, inside the callback
        with pytest.raises(SrtRefused) as refused:
            call(server.port, secret_id, PASSPHRASE)
        assert refused.value.reason == Reject.INTERNAL
        request = repr(server.asked)
    text = repr(lines) + request
    assert [line["reason"] for line in lines if line["event"] == "srt.publish.refused"] == [
        "passphrase", "passphrase", "unknown",
    ]  # fmt: skip
    assert any(line["event"] == "srt.callback.failed" and line["error"] == "ValueError" for line in lines)
    for secret in ("sk-", "tok-42", PASSPHRASE, "another passphrase", "short"):
        assert secret not in text.replace("too short", "")


def test_what_was_sent_last_is_not_lost_with_the_connection(running: Ingest, source: Path) -> None:
    data = source.read_bytes()[: 1316 * 400]
    send_all(running.port, data, "open")
    assert running.ended("open").data == data


def test_the_caller_may_raise_the_latency(running: Ingest, source: Path) -> None:
    options = CallOptions(streamid="secret", passphrase=PASSPHRASE, latency=timedelta(milliseconds=700))
    data = source.read_bytes()[: 1316 * 100]
    with SrtCaller("127.0.0.1", running.port, options) as caller:
        caller.send(data)
        assert caller.flush(timedelta(seconds=30))
        entry = running.only("secret")
        assert entry.publication.stats().latency_ms == 700
    assert running.ended("secret").data == data


def test_a_killed_caller_ends_and_the_same_id_comes_back_at_once(source: Path) -> None:
    limits = SrtLimits(vanished=timedelta(seconds=2))
    with ingest({"cam": PASSPHRASE}, limits) as server:
        first = push(server.port, source, "cam", PASSPHRASE, rate=1)
        gone = server.only("cam")
        wait_for(lambda: len(gone.data) > 50_000, "media flows")
        first.kill()
        first.communicate()
        code, said = finished(push(server.port, source, "cam", PASSPHRASE))
        assert code == 0, said
        back = server.ended("cam")
        assert back is not gone
        assert_whole(back.data, source.read_bytes())
        assert gone.ended.wait(30)
        assert gone.reason == "disconnected"
        assert source.read_bytes().startswith(bytes(gone.data[: len(gone.data) // 1316 * 1316]))
        wait_for(lambda: server.listener.publications() == [], "both are forgotten")


@pytest.mark.parametrize("in_order", [False, True], ids=["timed", "in_order"])
def test_lost_datagrams_are_sent_again(source: Path, *, in_order: bool) -> None:
    limits = SrtLimits(latency=timedelta(seconds=2), in_order=in_order)
    with ingest({"cam": PASSPHRASE}, limits) as server, LossyRelay(server.port, 0.05) as relay:
        code, said = finished(push(relay.port, source, "cam", PASSPHRASE, rate=2))
        assert code == 0, said
        entry = server.ended("cam")
        assert relay.lost > 10
        assert entry.publication.stats().packets_lost > 0
        assert entry.publication.stats().packets_dropped == 0
        # What was lost last stays lost: ffmpeg is no longer there to send it again.
        whole = len(entry.data) - HANG_UP
        assert_whole(entry.data[:whole], source.read_bytes()[: whole + HANG_UP // 2])


def test_a_process_may_close_a_publication_from_another_thread(source: Path) -> None:
    with ingest({"cam": None}) as server:
        process = push(server.port, source, "cam", rate=1)
        entry = server.only("cam")
        wait_for(lambda: len(entry.data) > 0, "media flows")
        entry.publication.close()
        assert entry.ended.wait(30)
        assert entry.reason == "closed"
        code, _ = finished(process)
        assert code != 0
        entry.publication.close()
        assert entry.publication.read(100) == b""
        assert entry.publication.stats().packets_received > 0
