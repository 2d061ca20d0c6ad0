"""The small parts: requests, the handshake, admission, the low-water mark."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import pytest

from services.ingester.rtmp.admission import Admission
from services.ingester.rtmp.lowwater import LowWater
from services.ingester.rtmp.request import PublishRequest, make_request
from shared.rtmp import handshake
from shared.rtmp.errors import ProtocolError

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
    asking: bool = False
    ended: bool = False

    def abort(self) -> None:
        self.ended = True


def test_a_flooding_address_makes_room_for_others() -> None:
    admission = Admission(connections=10, unpublished=3)
    quiet, *flood = Guest("192.0.2.1"), Guest("192.0.2.2"), Guest("192.0.2.2")
    assert all(admission.enter(guest) for guest in [quiet, *flood])
    newcomer = Guest("192.0.2.3")
    assert admission.enter(newcomer)
    assert [guest.ended for guest in [quiet, *flood]] == [False, True, False]


def test_no_one_who_is_being_decided_about_is_ended() -> None:
    admission = Admission(connections=10, unpublished=2)
    asking = [Guest("192.0.2.2", asking=True), Guest("192.0.2.2", asking=True)]
    assert all(admission.enter(guest) for guest in asking)
    assert not admission.enter(Guest("192.0.2.3"))
    assert not any(guest.ended for guest in asking)


def test_all_connections_are_limited_until_they_leave() -> None:
    admission = Admission(connections=2, unpublished=2)
    one, two, three = Guest("a"), Guest("b"), Guest("c")
    assert admission.enter(one)
    admission.publish(one)
    assert admission.enter(two)
    assert not admission.enter(three)
    admission.leave(one)
    assert admission.enter(three)
    assert set(admission.everyone()) == {two, three}


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
