"""The small parts: requests, the handshake, admission, the low-water mark."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import pytest

from services.ingester.rtmp.admission import Admission
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.link import Link
from services.ingester.rtmp.lowwater import LowWater
from services.ingester.rtmp.request import PublishRequest, make_request
from shared.rtmp import handshake
from shared.rtmp.errors import LimitExceeded, ProtocolError
from shared.runtime.clock import SystemClock

SECOND = 1_000_000_000
ARGS = "p=102&e=0_abc&i=0&t=secret%2Ftoken"


def ask(app: str, name: str, tc_url: str = "rtmp://h/kLive") -> PublishRequest:
    return make_request(app, name, tc_url, peer="192.0.2.1:5", secure=False)


@pytest.mark.parametrize(
    "request_",
    [
        ask("kLive", f"0_abc_1?{ARGS}"),
        ask(f"kLive/?{ARGS}", "0_abc_1"),
        ask("kLive", "0_abc_1", f"rtmp://h/kLive/?{ARGS}"),
        ask(f"kLive?{ARGS}", "0_abc_1?t=secret%2Ftoken", f"rtmp://h/kLive?{ARGS}&t=older"),
    ],
)
def test_arguments_are_found_wherever_the_encoder_puts_them(request_: PublishRequest) -> None:
    assert (request_.app, request_.stream_name) == ("kLive", "0_abc_1")
    assert dict(request_.args) == {"p": "102", "e": "0_abc", "i": "0", "t": "secret/token"}


def test_a_request_shows_no_key() -> None:
    request = ask("live/inner-key", "stream-key?t=token", "rtmp://h/live/url-key?t=token")
    assert "key" not in repr(request)
    assert "token" not in repr(request)
    assert request.peer in repr(request)
    assert "key" not in repr(ask("key", ""))


def test_oversized_requests_are_refused() -> None:
    with pytest.raises(ProtocolError):
        ask("live", "k" * 5000)
    with pytest.raises(ProtocolError):
        ask("live", "k?" + "&".join(f"a{index}=1" for index in range(100)))


def test_plain_handshake_echoes_the_client() -> None:
    c1 = bytes(8) + bytes(range(256)) * 5 + bytes(248)
    answer = handshake.answer(b"\x03" + c1, time_ms=7)
    assert answer[0] == 3
    assert answer[1:9] == b"\0\0\0\7" + bytes(4)
    assert answer[1537:] == c1


@pytest.mark.parametrize("scheme", [8, 772])
def test_digest_handshake_is_signed(scheme: int) -> None:
    c1 = bytearray(b"\0\0\0\0\x09\0\x7c\2" + bytes(range(256)) * 5 + bytes(248))
    place = sum(c1[scheme : scheme + 4]) % 728 + scheme + 4
    digest = hmac.digest(b"Genuine Adobe Flash Player 001", bytes(c1[:place] + c1[place + 32 :]), hashlib.sha256)
    c1[place : place + 32] = digest
    s1 = handshake.answer(b"\x03" + bytes(c1), time_ms=7)[1:1537]
    at = sum(s1[scheme : scheme + 4]) % 728 + scheme + 4
    key = b"Genuine Adobe Flash Media Server 001"
    assert s1[at : at + 32] == hmac.digest(key, s1[:at] + s1[at + 32 :], hashlib.sha256)
    assert s1[4:8] != bytes(4)


@pytest.mark.parametrize("first", [b"\x06", b"\x16", b"G"])
def test_other_protocols_are_no_handshake(first: bytes) -> None:
    with pytest.raises(ProtocolError):
        handshake.answer(first + bytes(1536), time_ms=0)


@dataclass(eq=False)
class Guest:
    address: str
    ended: bool = False

    def abort(self) -> None:
        self.ended = True


def doors(connections: int = 10, unpublished: int = 3, each: int = 3) -> Admission:
    return Admission(connections=connections, unpublished=unpublished, unpublished_each=each)


@pytest.mark.parametrize(
    ("flood", "other"),
    [(["192.0.2.2"] * 2, "192.0.2.3"), (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1")],
)
def test_a_flooding_network_makes_room_for_others(flood: list[str], other: str) -> None:
    admission = doors()
    guests = [Guest("192.0.2.1"), *map(Guest, flood)]
    assert all(admission.enter(guest) for guest in guests)
    assert admission.enter(Guest(other))
    assert [guest.ended for guest in guests] == [False, True, False]


def test_where_each_network_has_one_the_oldest_makes_room() -> None:
    admission = doors()
    guests = [Guest(f"192.0.2.{number}") for number in range(6)]
    assert all(admission.enter(guest) for guest in guests)
    assert [guest.ended for guest in guests] == [True] * 3 + [False] * 3


def test_a_network_alone_does_not_take_all_the_room() -> None:
    admission = doors(connections=100, unpublished=50, each=2)
    guests = [Guest("192.0.2.1") for _ in range(6)]
    assert all(admission.enter(guest) for guest in guests)
    assert [guest.ended for guest in guests] == [True] * 4 + [False] * 2


def test_no_one_who_is_being_decided_about_is_ended_until_it_is_refused() -> None:
    admission = doors(connections=10, unpublished=2)
    asking = [Guest("192.0.2.2"), Guest("192.0.2.2")]
    for guest in asking:
        assert admission.enter(guest)
        assert admission.ask(guest)
    assert all(admission.enter(Guest("192.0.2.2")) for _ in range(8))
    assert not any(guest.ended for guest in asking)
    for guest in asking:
        admission.refuse(guest)
    assert all(admission.enter(Guest("192.0.2.2")) for _ in range(2))
    assert all(guest.ended for guest in asking)


def test_one_that_had_to_go_is_not_asked_about() -> None:
    admission = doors(unpublished=1)
    first, second = Guest("192.0.2.1"), Guest("192.0.2.2")
    assert admission.enter(first)
    assert admission.enter(second)
    assert not admission.ask(first)
    assert admission.ask(second)


def test_all_connections_are_limited_until_they_leave_and_those_who_do_not_publish_make_room() -> None:
    admission = doors(connections=2, unpublished=2)
    one, two, three, four = (Guest(name) for name in "abcd")
    for guest in (one, two):
        assert admission.enter(guest)
        assert admission.ask(guest)
    assert not admission.enter(three)
    admission.leave(one)
    assert admission.enter(three)
    assert admission.enter(four)
    assert (two.ended, three.ended) == (False, True)
    assert set(admission.everyone()) == {two, three, four}
    admission.leave(three)
    assert set(admission.everyone()) == {two, four}


def test_connections_that_were_ended_and_do_not_go_are_limited_too() -> None:
    admission = doors(connections=5, unpublished=1)
    assert sum(admission.enter(Guest("192.0.2.1")) for _ in range(50)) == 6


class Endless:
    """A transport whose peer sends the same bytes without end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.taken = 0

    def receive(self, view: memoryview) -> int:
        count = min(len(view), len(self.data))
        view[:count] = self.data[:count]
        self.taken += count
        return count

    def send(self, data: bytes) -> None:
        """Lose it."""


@pytest.mark.parametrize("setup_bytes", [10_000, RtmpLimits().setup_bytes])
def test_before_a_publish_the_bytes_are_bounded(setup_bytes: int) -> None:
    """By the bound itself, and not by what the messages cost: audio costs nothing."""
    message = b"\x04" + bytes(3) + (100).to_bytes(3, "big") + b"\x08" + bytes(4) + bytes(100)
    transport = Endless(message)
    limits = RtmpLimits(setup_bytes=setup_bytes)
    link = Link(transport, limits, SystemClock())  # type: ignore[arg-type]  # what Link uses of one
    with pytest.raises(LimitExceeded, match="too much before publish"):  # noqa: PT012  which read it is, is asked below
        while True:
            link.receive()
    assert setup_bytes < transport.taken <= setup_bytes + len(message)


def test_low_water_follows_the_rate_and_stays_within_its_limits() -> None:
    marks: list[int] = []
    low = LowWater(marks.append, part_ns=SECOND // 2, most=65536, start_ns=0)
    low.note(40_000, SECOND // 2)
    assert marks == []
    low.note(40_000, SECOND)  # 80 kB/s: half of half a second
    assert marks == [20_000]
    low.note(82_000, 2 * SECOND)  # about the same
    assert marks == [20_000]
    low.note(5_000_000, 3 * SECOND)
    assert marks[-1] == 65536
    low.window = 40_000  # a peer that stops after so many bytes
    low.note(5_000_000, 4 * SECOND)
    assert marks[-1] == 10_000
    low.note(0, 5 * SECOND)
    assert marks[-1] == 1
