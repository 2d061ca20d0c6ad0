"""Addresses that name an entry: in every form that encoders send, and refused when something is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingester.broadcasts import Broadcast, rtmp_broadcast
from services.ingester.forms import plain, wish
from services.ingester.refusals import PublishRefused
from services.ingester.rtmp.request import make_request
from shared.rtmp.errors import ProtocolError

ENTRY, ARGS = "0_ab12cd34", "p=102&e=0_ab12cd34&i=0&t=1a2b3c4d"
WHOLE, BARE = Broadcast(ENTRY, "102", "1a2b3c4d"), Broadcast(ENTRY, "", "1a2b3c4d")


def read(app: str, name: str, tc_url: str = "") -> Broadcast | None:
    request = make_request(app, name, tc_url or f"rtmp://h/{app}", peer="192.0.2.1:5", secure=False)
    return rtmp_broadcast(request.stream_name, request.args, request.tc_url)


@pytest.mark.parametrize(
    ("app", "name", "tc_url", "found"),
    [
        (f"kLive/?{ARGS}", f"{ENTRY}_1", "", WHOLE),
        (f"kLive?{ARGS}", f"{ENTRY}_1", "", WHOLE),
        ("kLive", f"{ENTRY}_1", f"rtmp://h:1935/kLive/?{ARGS}", WHOLE),
        ("kLive", f"{ENTRY}_1?{ARGS}", "rtmp://h/kLive", WHOLE),
        ("kLive", f"/{ENTRY}_1/?{ARGS}", "rtmp://h/kLive", WHOLE),
        ("kLive", "", f"rtmp://h/kLive/?{ARGS}/{ENTRY}_1", WHOLE),
        (f"kLive/?{ARGS}/{ENTRY}_1", "", "", WHOLE),
        ("kLiveOTD?p=102", f"{ENTRY}_1?e={ENTRY}&i=0", "rtmp://h/kLive?t=1a2b3c4d", WHOLE),
        (f"kLive/?{ARGS.upper().replace('P=', 'p=').replace('E=', 'e=').replace('I=', 'i=').replace('T=', 't=')}",
         f"{ENTRY.upper()}_1", "", Broadcast(ENTRY, "102", "1A2B3C4D")),
        ("kLive?t=1a2b3c4d", f"{ENTRY}_1", f"rtmp://{ENTRY}.p.publish.example.com:1935/kLive?t=1a2b3c4d", BARE),
        ("kLive", f"{ENTRY}_1?t=1a2b3c4d", f"rtmps://{ENTRY.upper()}.P.publish.example.com/kLive", BARE),
        ("kLive", f"{ENTRY}_1?{ARGS}", f"rtmp://{ENTRY}.p.publish.example.com/kLive", WHOLE),
        ("live", "0123456789abcdef" * 2, f"rtmp://h/live?{ARGS}", None),
        ("live", "main", "", None), ("kLive", "", "", None), ("live", "0_short_1", "", None),
    ],
)  # fmt: skip
def test_an_entry_is_found_wherever_it_is_written(app: str, name: str, tc_url: str, found: Broadcast | None) -> None:
    assert read(app, name, tc_url) == found


@pytest.mark.parametrize(
    ("app", "name", "tc_url", "words"),
    [
        *((f"kLive/?{ARGS}".replace(f"{one}=", "x="), f"{ENTRY}_1", "", f"lacks {one}") for one in "peit"),
        *((f"kLive/?{ARGS}".replace(f"{one}=", f"{one}=&x="), f"{ENTRY}_1", "", f"lacks {one}") for one in "peit"),
        (f"kLive/?{ARGS}", "0_zzzzzzzz_1", "", "two different"), (f"kLive/?{ARGS}", "main", "", "the stream name"),
        (f"kLive/?{ARGS}", ENTRY, "", "the stream name"), (f"kLive/?{ARGS}", f"{ENTRY}_x", "", "the stream name"),
        (f"kLive/?{ARGS}", f"{ENTRY}_", "", "the stream name"), (f"kLive/?{ARGS}", f"{ENTRY}_²", "", "the stream name"),
        (f"kLive/?{ARGS}", f"{ENTRY}_1_2", "", "the stream name"), (f"kLive/?{ARGS}", "", "", "the stream name"),
        (f"kLive/?{ARGS}", f"{ENTRY}_2", "", "one bitrate"), (f"kLive/?{ARGS}", f"{ENTRY}_3", "", "one bitrate"),
        (f"kLive/?{ARGS}".replace("i=0", "i=1"), f"{ENTRY}_1", "", "backups"),
        (f"kLive/?{ARGS}".replace("i=0", "i=2"), f"{ENTRY}_1", "", "the index"),
        ("kLive", f"{ENTRY}_1", f"rtmp://{ENTRY}.p.example.com/kLive", "lacks t"),
        ("kLive?t=1", f"{ENTRY}_1", f"rtmp://{ENTRY}.b.example.com/kLive", "backups"),
        ("kLive?t=1", f"{ENTRY}_1", "rtmp://0_zzzzzzzz.p.example.com/kLive", "two different"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused_and_says_why(app: str, name: str, tc_url: str, words: str) -> None:
    with pytest.raises(PublishRefused, match=words) as refused:
        read(app, name, tc_url)
    assert "1a2b3c4d" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"#:::e={ENTRY},st=0,p=1a2b3c4d", BARE), (f"#:::p=1a2b3c4d, ST=0, E={ENTRY.upper()}", BARE),
        (f"#:::e=pa-{ENTRY},st=0,ep=1a2b3c4d", BARE), (f"%23:::e={ENTRY},st=0,p=1a2b3c4d", BARE),
    ],
)  # fmt: skip
def test_an_srt_id_names_an_entry(text: str, found: Broadcast) -> None:
    asked = wish(plain(text))
    assert (asked.broadcast, asked.mode, asked.event) == (found, "publish", "")
    assert "1a2b3c4d" not in repr(asked)


@pytest.mark.parametrize(
    "text",
    [
        "#:::", "#:::e", f"#:::e={ENTRY}", f"#:::e={ENTRY},st=0", f"#:::e={ENTRY},p=1", "#:::e=0_x,st=0,p=1",
        f"#:::e={ENTRY},st=1,p=1", f"#:::e={ENTRY},st=7,p=1", f"#:::e={ENTRY},e={ENTRY},st=0,p=1",
        "#:::" + ",".join(f"k{n}=1" for n in range(40)),
    ],
)  # fmt: skip
def test_an_srt_id_that_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises((PublishRefused, ValueError)):
        wish(text)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_address_is_read_or_refused(app: str, name: str, tc_url: str) -> None:
    for one in (app, f"kLive/?{ARGS}{app}", f"k?e={ENTRY}&i={app}"):
        for stream in (name, f"{ENTRY}_{name}"):
            try:
                read(one, stream, tc_url)
            except (PublishRefused, ProtocolError):
                continue


@given(st.text(max_size=80))
def test_any_srt_id_is_read_or_refused(text: str) -> None:
    for one in (f"#:::{text}", f"#:::e={ENTRY},st={text},p=1"):
        try:
            wish(one)
        except (PublishRefused, ValueError):
            continue
