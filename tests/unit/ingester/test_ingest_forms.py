"""The forms in which stream keys and SRT ids are written: the tables of docs/ingest.md, and what is refused."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingester import forms
from services.ingester.forms import plain, stream_key, wish
from services.ingester.refusals import PublishRefused, Why
from services.ingester.rtmp.commands import refusal_code
from services.ingester.rtmp.request import make_request
from services.ingester.srt.gate import REASONS

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
PAGE = Path(__file__).parents[3] / "docs" / "ingest.md"
CODED = "".join(f"%{ord(char):02x}" for char in KEY)


def table(heading: str) -> list[list[str]]:
    """Give the cells of the table under a heading of the page."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def meant(text: str) -> str:
    """Write a cell's text as it is sent: KEY is the key, KEY2 another one, nothing stands between backticks."""
    text = text.replace("KEY2", OTHER).replace("KEY", KEY).replace("ID2", OTHER)
    text = re.sub("ID(?![A-Za-z0-9])", KEY, text).replace("PASS", OTHER)
    return "" if text == "(empty)" else text.replace("\\n", "\n")


RTMP_FORMS = table("Stream keys")
SRT_FORMS = table("SRT ids")


@pytest.mark.parametrize(("app", "name", "tells"), RTMP_FORMS, ids=[" + ".join(row[:2]) for row in RTMP_FORMS])
def test_the_documented_forms_of_a_stream_key(app: str, name: str, tells: str) -> None:
    request = make_request(meant(app), meant(name), f"rtmp://h:1935/{meant(app)}", peer="192.0.2.1:5", secure=False)
    if tells.startswith("refused"):
        with pytest.raises(PublishRefused) as refused:
            request.stream_key()
        assert refused.value.why == tells.split()[1].strip("`")
        assert KEY not in str(refused.value)
    else:
        assert request.stream_key() == KEY
    assert KEY[:8] not in repr(request).lower()
    assert KEY[:8] not in request.label.lower()


@pytest.mark.parametrize(("raw", "tells"), SRT_FORMS, ids=[row[0] for row in SRT_FORMS])
def test_the_documented_forms_of_an_srt_id(raw: str, tells: str) -> None:
    if tells == "refused":
        with pytest.raises((PublishRefused, ValueError)):
            wish(plain(meant(raw)))
        return
    found = wish(plain(meant(raw)))
    assert found.event == KEY
    assert found.mode == tells
    assert KEY not in repr(found)


WHYS: dict[str, tuple[Why, ...]] = {
    "no job has": ("unknown",), "no key was sent": ("no_key", "ambiguous"), "the job is finished": ("over",),
    "another publisher": ("taken",), "the disk is full": ("disk_full",), "keys cannot be looked up": ("later",),
}  # fmt: skip


def test_the_documented_refusals_are_those_that_are_sent() -> None:
    rows = {row[0]: row[1:] for row in table("Refusals")}
    for begins, whys in WHYS.items():
        [(rtmp, srt)] = [cells for said, cells in rows.items() if said.startswith(begins)]
        for why in whys:
            assert (refusal_code(why), str(int(REASONS[why]))) == (rtmp, srt)
    [unfit] = [cells for said, cells in rows.items() if said.startswith("no track of the stream")]
    assert unfit[0].startswith(f"{refusal_code('unsupported')}`")


@pytest.mark.parametrize(
    ("tc_url", "app"),
    [(f"rtmp://h:1935/live?key={KEY}", "live"), (f"rtmp://h/live/{KEY}", "live"), (f"rtmps://h:443/{KEY}", ""),
     (f"rtmp://h/live?x=1/{KEY}", "live?x=1"), (f"rtmp://h:1935/live/{KEY}?a=b", f"live/{KEY}?a=b")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["", "stream"])
def test_a_key_in_the_url_of_the_server_counts(tc_url: str, app: str, name: str) -> None:
    assert stream_key(app, name, tc_url) == KEY


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ("live", f"\ufeff{KEY}\u200b"), ("live", f"\u00a0{KEY}\r\n"), ("live", f"\u201c{KEY}\u201d"),
        ("live", f"\t{KEY}"),
        ("live", CODED), ("live", CODED.replace("%", "%25")), ("live", f"live%2F{KEY}"), ("live", f"%20{KEY}%0A"),
        ("live", f"/live//{KEY}//"), ("live", f"mp4:live/{KEY}.MP4"), ("live", f"live\\{KEY}"), ("live", f"<{KEY}>"),
        ("live", f"{KEY}?"), ("live", f"{KEY}&bw=5"), ("live", f"?a=b&KEY={KEY.upper()}&c=d"), ("live", f"key={KEY}"),
        ("live", f"?stream-key={KEY}#x"), ("live?a=b", KEY), (f"live?backup=1/{KEY}", ""), (f"{KEY}/", ""),
        (f"live/{KEY}?a=b", ""), (f"live/{KEY}/", "live"), ("live", f"rtmps://h.example:443/live/_definst_/{KEY}?a=b"),
        (f"rtmp://h/live/{KEY}", ""), ("", KEY), ("live/_definst_", KEY), ("live", f"{KEY}?token={OTHER}"),
        ("live", f"x?token={KEY}"), (f"live?authmod=adobe&user=u&response={OTHER}", KEY),
        ("live", f"rtmp://user:{OTHER}@h/live/{KEY}"), ("live", f"rtmp://{OTHER}.cdn.example/live/{KEY}"),
        ("live", "".join(chr(ord(char) + 0xFEE0) for char in KEY)),
    ],
)  # fmt: skip
def test_other_forms_of_a_stream_key(app: str, name: str) -> None:
    assert stream_key(app, name, "rtmp://h/live") == KEY


def test_what_was_announced_counts_when_publish_names_nothing() -> None:
    assert stream_key("live", "", "", [KEY, f"live/{KEY}"]) == KEY
    assert stream_key("live", KEY, "", [OTHER]) == KEY
    with pytest.raises(PublishRefused):
        stream_key("live", "", "", [KEY, OTHER])


@pytest.mark.parametrize(
    ("app", "name", "tc_url"),
    [(KEY, OTHER, ""), ("live", f"{KEY}/{OTHER}", ""), ("live", f"{KEY}?key={OTHER}", ""),
     ("live", KEY, f"rtmp://h/live/{OTHER}"), ("live", f"?token={KEY}&t={OTHER}", ""), (f"live?key={OTHER}", KEY, "")],
)  # fmt: skip
def test_two_keys_are_refused_and_neither_is_told(app: str, name: str, tc_url: str) -> None:
    with pytest.raises(PublishRefused, match="two different") as refused:
        stream_key(app, name, tc_url)
    assert refused.value.why == "ambiguous"
    assert not re.search("[0-9a-f]{8}", str(refused.value))


@pytest.mark.parametrize(
    ("app", "name", "looked_up"),
    [
        ("live", "match-1", "match-1"), ("live", " match-1 \n", "match-1"), ("live", "live/match-1?a=b", "match-1"),
        ("live", "mp4:match-1.mp4", "match-1"), ("live/match-1", "", "match-1"), ("live", "?key=match-1", "match-1"),
        ("live", KEY[:-1], KEY[:-1]), ("live", f"{KEY}0", f"{KEY}0"), ("live", f"{KEY}_720p", f"{KEY}_720p"),
    ],
)  # fmt: skip
def test_a_key_of_another_shape_is_looked_up_as_it_was_written(app: str, name: str, looked_up: str) -> None:
    assert stream_key(app, name) == looked_up


@pytest.mark.parametrize(("app", "name"), [("live", ""), ("", ""), ("live", " "), ("live", "?"), ("live", "//")])
def test_no_key_at_all_says_so(app: str, name: str) -> None:
    with pytest.raises(PublishRefused, match="no stream key") as refused:
        stream_key(app, name, "rtmp://h/live")
    assert refused.value.why == "no_key"


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_text_gives_one_key_or_a_refusal(app: str, name: str, tc_url: str) -> None:
    with contextlib.suppress(PublishRefused):
        assert stream_key(app, name, tc_url)


@given(st.text(max_size=512))
def test_any_stream_id_gives_a_wish_or_a_refusal(text: str) -> None:
    try:
        found = wish(plain(text))
    except (PublishRefused, ValueError):
        return
    assert found.event == "" or len(found.event) == 32


@pytest.mark.parametrize("app", [KEY, KEY.upper(), KEY[:20], CODED, "x" * 65])
def test_no_log_shows_what_may_be_a_key(app: str) -> None:
    assert make_request(app, "name", "", peer="192.0.2.1:5", secure=False).label == ""


def test_what_a_search_tries_from_every_letter_is_bounded() -> None:
    """A repeat without end before `://` would make a text of n letters cost n * n steps, before any key is known."""
    parse = re._parser.parse  # type: ignore[attr-defined]  # the only one who tells the steps of an expression
    before = list(parse(forms._HOST.pattern))[:2]
    assert [str(kind) for kind, _ in before] == ["IN", "MAX_REPEAT"]
    assert before[1][1][1] <= 16


@pytest.mark.parametrize("piece", ["a", "㍱", "a0", "0", "/", ":", "⩴", "%61", "k=", "rtmp://", f"{KEY}/", "é "])
def test_the_longest_texts_are_read(piece: str) -> None:
    """The largest that connect and publish may send, seven times; some grow when they are made plain."""
    text = (piece * 4096)[:4096]
    assert len(plain(text)) <= 4096
    with contextlib.suppress(PublishRefused):
        stream_key(text, text, text, (text,) * 4)
    with contextlib.suppress(PublishRefused, ValueError):
        wish(plain(text[:512]))
