"""Target URLs: what is read out of them, what is refused, and that no text shows a secret."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

from services.restreamer.targets.addresses import RtmpAddress, SrtAddress, read_address
from services.restreamer.targets.terms import TargetError, redact

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
PORTS = (range(9000, 9011), range(9200, 9201))


def read(url: str, ports: tuple[range, ...] = PORTS) -> RtmpAddress | SrtAddress:
    return read_address(url, allowed=LOCAL, srt_ports=ports)


@pytest.mark.parametrize(
    ("url", "app", "name", "tc_url"),
    [
        ("rtmp://a.example.com/live2/key-1", "live2", "key-1", "rtmp://a.example.com/live2"),
        ("rtmp://a.example.com:1936/app/inst/key?x=1&y=/z", "app/inst", "key?x=1&y=/z", "rtmp://a.example.com:1936/app/inst"),
        ("rtmp://a.example.com/live2?backup=1/key", "live2?backup=1", "key", "rtmp://a.example.com/live2?backup=1"),
        ("rtmp://a.example.com//live/key/", "live", "key", "rtmp://a.example.com/live"),
        ("rtmp://me:pw@a.example.com/live/key", "live", "key", "rtmp://a.example.com/live"),
        ("rtmps://[2a00:1450::1]/live/key", "live", "key", "rtmps://[2a00:1450::1]/live"),
        ("rtmps://a.example.com:443/rtmp/k", "rtmp", "k", "rtmps://a.example.com/rtmp"),
        ("rtmp://a.example.com/kLive/?p=1&e=0_x&t=tok/0_x_1", "kLive/?p=1&e=0_x&t=tok", "0_x_1",
         "rtmp://a.example.com/kLive/?p=1&e=0_x&t=tok"),
    ],
)  # fmt: skip
def test_rtmp_urls_are_split_as_encoders_do(url: str, app: str, name: str, tc_url: str) -> None:
    place = read(url)
    assert isinstance(place, RtmpAddress)
    assert (place.app, place.name, place.tc_url) == (app, name, tc_url)
    assert name not in repr(place)


def test_srt_urls_say_how_to_call() -> None:
    place = read(
        "srt://in.example.com:9999?streamid=%23!::r=a,m=publish&passphrase=a+secret+one&latency=300&pbkeylen=32"
    )
    assert place == SrtAddress(
        "caller", "in.example.com", 9999, "#!::r=a,m=publish", "a secret one", 32, timedelta(milliseconds=300)
    )
    assert "secret" not in repr(place)
    micro = read("srt://in.example.com:9999?latency=200000")
    assert isinstance(micro, SrtAddress)
    assert micro.latency == timedelta(milliseconds=200)
    door = read("srt://0.0.0.0:9200?mode=listener")
    assert isinstance(door, SrtAddress)
    assert (door.mode, door.host, door.port) == ("listener", "0.0.0.0", 9200)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rtmp://a.example.com/only", "rtmp://host/application/stream"),
        ("rtmp://10.0.0.1/live/secretkey", "may not be reached"),
        ("rtmp://secretuser@a.example.com/live/key", "comes with a password"),
        ("srt://u:pw-secret@a.example.com:9000", "must not carry a user"),
        ("srt://in.example.com?streamid=x", "names its port"),
        ("srt://in.example.com:1?mode=rendezvous", "caller or listener"),
        ("srt://in.example.com:1?passphrase=secret", "10 to 79 characters"),
        ("srt://in.example.com:1?latency=-3", "number of ms"),
        ("srt://in.example.com:secret", "srt://host:port"),
        ("srt://me:secr℀et@in.example.com:1", "srt://host:port"),
        ("rtmp://me:secr℀et@in.example.com/live/key", "not a URL"),
        ("srt://in.example.com:1?pbkeylen=secret", "16, 24, 32"),
        ("srt://10.0.0.1:9000", "may not be reached"),
        ("srt://:8080?mode=listener", r"port 8080 is not one of those.*9000-9010, 9200-9200"),
        ("https://a.example.com/live/secretkey", "rtmp://, rtmps:// or srt://"),
    ],
)
def test_what_cannot_be_a_target_is_refused_in_plain_words(url: str, why: str) -> None:
    with pytest.raises(TargetError, match=why) as refused:
        read(url)
    assert refused.value.final
    assert "secr" not in str(refused.value)


def test_listeners_need_ports_of_the_operator() -> None:
    with pytest.raises(TargetError, match="REELAY_SRT_OUT_PORTS"):
        read("srt://:9000?mode=listener", ports=())


def test_what_a_peer_says_is_shown_without_secrets() -> None:
    place = read("rtmp://a.example.com/live/my%2Dkey?token=abc%2Fdef&n=1")
    assert isinstance(place, RtmpAddress)
    said = "bad name my-key or my%2Dkey?token=abc%2Fdef&n=1\nwith abc/def" + "!" * 300
    shown = redact(said, place.secrets)
    assert all(secret not in shown for secret in ("my-key", "my%2Dkey", "abc"))
    assert shown.isprintable()
    assert len(shown) <= 200


def test_a_login_is_read_and_never_shown() -> None:
    place = read("rtmp://editor:p%3Aw-secret@a.example.com/live/key")
    assert isinstance(place, RtmpAddress)
    assert (place.user, place.password, place.port) == ("editor", "p:w-secret", 1935)
    assert "secret" not in repr(place)
    shown = redact("no editor:p%3Aw-secret, p:w-secret is wrong for key", place.secrets)
    assert all(secret not in shown for secret in ("editor", "secret", "key"))


def test_arguments_of_the_application_are_secrets_too() -> None:
    place = read("rtmp://a.example.com/kLive/?p=1&t=tok%2Den/0_x_1")
    assert isinstance(place, RtmpAddress)
    shown = redact("no application kLive/?p=1&t=tok%2Den (tok-en)", place.secrets)
    assert "tok" not in shown
