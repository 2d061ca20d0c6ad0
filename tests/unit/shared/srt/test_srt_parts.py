"""The pure parts of SRT: stream ids, addresses, finding libsrt, recognising a transport stream."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.ingester.srt.model import SrtGrant, SrtLimits, SrtRequest
from services.ingester.srt.publication import looks_like_mpegts
from services.ingester.srt.streamid import build, parse
from shared.srt import address, library
from shared.srt.caller import CallOptions, check_passphrase
from shared.srt.errors import SrtUnavailable
from shared.srt.guard import CallbackGuard


@pytest.mark.parametrize(
    ("raw", "resource", "mode"),
    [
        ("cam1", "cam1", "publish"),
        ("", "", "publish"),
        ("#!::r=cam1,m=publish", "cam1", "publish"),
        ("#!::m=publish,r=live/cam 1,u=jo,k=x=y", "live/cam 1", "publish"),
        ("#!::r=cam1", "cam1", "publish"),
        ("#!::r=cam1,m=request", "cam1", "request"),
        ("#!::u=jo,r=,m=bidirectional", "", "bidirectional"),
    ],
)
def test_a_stream_id_is_read(raw: str, resource: str, mode: str) -> None:
    streamid = parse(raw)
    assert (streamid.resource, streamid.mode, streamid.raw) == (resource, mode, raw)


def test_every_key_is_kept() -> None:
    assert dict(parse("#!::r=a,m=publish,u=jo,k=x=y,acme_z=").keys) == {
        "r": "a", "m": "publish", "u": "jo", "k": "x=y", "acme_z": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    ["#!", "#!:", "#!::", "#!::r", "#!::=x", "#!::r=a,", "#!::r=a,r=b", "#!:{r=a}", "#!R=a", "a\nb", "\x1b[2J",
     "x" * 513, "#!::" + ",".join(f"k{n}=1" for n in range(40))],
)  # fmt: skip
def test_a_bad_stream_id_is_refused(raw: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each says something else
        parse(raw)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(raw: str) -> None:
    try:
        streamid = parse(raw)
    except ValueError:
        return
    assert streamid.raw == raw


def test_a_built_stream_id_reads_back() -> None:
    raw = build(r="live/cam1", m="publish", u="jo")
    assert raw == "#!::r=live/cam1,m=publish,u=jo"
    assert parse(raw).resource == "live/cam1"
    with pytest.raises(ValueError, match="comma"):
        build(r="a,m=request")


def test_no_repr_shows_a_secret() -> None:
    streamid = parse("#!::r=hidden,k=hidden")
    shown = [streamid, SrtRequest(streamid, address.Address("10.0.0.1", 5)), SrtGrant("hidden passphrase", "hidden"),
             CallOptions(streamid="hidden", passphrase="hidden passphrase")]  # fmt: skip
    assert "hidden" not in repr(shown)
    assert "hidden" not in streamid.fingerprint


@pytest.mark.parametrize("length", [0, 9, 80, 291])
def test_a_passphrase_has_10_to_79_characters(length: int) -> None:
    with pytest.raises(ValueError, match="10 to 79"):
        check_passphrase("x" * length)
    assert check_passphrase("x" * 10) == b"x" * 10
    assert check_passphrase("x" * 79) == b"x" * 79


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1:8890"), ("::1", "[::1]:8890")])
def test_an_address_is_packed_and_read(host: str, shown: str) -> None:
    packed = address.resolve(host, 8890)
    assert len(packed) == (16 if "." in host else 28)
    assert address.unpack(packed) == address.Address(host, 8890)
    assert str(address.unpack(packed)) == shown


def test_a_mapped_address_is_given_as_ipv4() -> None:
    mapped = address.resolve("::1", 1)[:8] + socket.inet_pton(socket.AF_INET6, "::ffff:10.1.2.3") + bytes(4)
    assert address.unpack(mapped).host == "10.1.2.3"
    assert address.read_pointer(None).host == ""
    assert address.unpack(bytes(28)).host == ""


def test_a_machine_without_libsrt_is_told_what_to_install() -> None:
    with pytest.raises(SrtUnavailable, match=re.escape(library.INSTALL_COMMAND)):
        library.find(("libsrt-of-no-machine.so.9", "libc.so.6"))


def test_nothing_leaves_a_guard() -> None:
    with capture_logs() as lines:
        with CallbackGuard("some.callback"):
            raise RuntimeError("with a secret")
        with CallbackGuard("some.callback"):
            raise SystemExit(1)
        with CallbackGuard("some.callback"):
            pass
    assert [line["error"] for line in lines] == ["RuntimeError", "SystemExit"]
    assert "secret" not in repr(lines)
    assert "test_nothing_leaves_a_guard" in lines[0]["where"]


@pytest.mark.parametrize("offset", [0, 1, 100, 187])
def test_a_transport_stream_is_recognised_at_any_start(offset: int) -> None:
    stream = (b"G" + bytes(187)) * 7
    assert looks_like_mpegts(stream[offset:][: 188 * 6 if offset else None])


@pytest.mark.parametrize("data", [b"", b"G", b"G" + bytes(1315), os.urandom(1316).replace(b"G", b"H"), bytes(4000)])
def test_other_bytes_are_not_a_transport_stream(data: bytes) -> None:
    assert not looks_like_mpegts(data)


def test_the_receive_buffer_holds_what_the_limits_say() -> None:
    limits = SrtLimits(bitrate=20_000_000, buffered=timedelta(seconds=10))
    assert limits.buffer_packets * 1316 >= 20_000_000 // 8 * 10 - 1316
    assert SrtLimits(bitrate=1000).buffer_packets == 8192
