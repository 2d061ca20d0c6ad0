"""Where a run begins."""

from __future__ import annotations

from typing import Any

from services.restreamer.resuming import beginning, mark
from shared.messages.restreams import (
    Item,
    PlaylistCursor,
    PlayoutRecord,
    Range,
    RestreamRecord,
    RestreamSpec,
    Source,
    Target,
)
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url

VAULT = Vault(b"resuming")
ANYWHERE = Target(target="a" * 16, url="rtmp://x/y", shown="rtmp://x/y")


def source(name: str) -> Source:
    return Source(kind="url", location=seal_url(VAULT, f"https://example.com/{name}?token=1"), shown=name)


def record(names: str, *, run: int = 2, chain: int = 1, number: int = 0, **fields: Any) -> RestreamRecord:
    ranges = fields.pop("ranges", ())
    wait = fields.pop("wait_current", False)
    items = [Item(source=source(n), ranges=ranges) for n in names]
    return RestreamRecord(
        account="main", restream="4" * 32, run=run, chain=chain, spec_number=number, wait_current=wait,
        spec=RestreamSpec(items=items, targets=(ANYWHERE,), **fields), state="starting", created_ms=1, changed_ms=1,
    )  # fmt: skip


def last(name: str, cursor: PlaylistCursor, *, run: int = 1, number: int = 0) -> PlayoutRecord:
    return PlayoutRecord(
        account="main", restream="4" * 32, run=run, holder="", cursor=cursor, spec_number=number, at_ms=1,
        source=mark(VAULT, source(name)),
    )  # fmt: skip


def begins(wanted: RestreamRecord, was: PlayoutRecord | None) -> PlaylistCursor:
    return beginning(wanted, was, lambda: [mark(VAULT, item.source) for item in wanted.spec.items])


def test_a_source_is_known_again_though_it_is_sealed_anew() -> None:
    assert source("a").location != source("a").location
    assert mark(VAULT, source("a")) == mark(VAULT, source("a")) != mark(VAULT, source("b"))


def test_a_source_that_cannot_be_read_is_not_taken_for_another() -> None:
    elsewhere = Vault(b"before the key was changed")
    assert mark(elsewhere, source("a")) == ""
    was = last("a", PlaylistCursor(item=1, at=5)).model_copy(update={"source": ""})
    assert beginning(record("ab"), was, lambda: ["", ""]) == PlaylistCursor()


def test_the_list_s_beginning() -> None:
    assert begins(record("abc", first=2), None) == PlaylistCursor(item=2)
    assert begins(record("abc", first=7), None) == PlaylistCursor()
    assert begins(record("abc", run=3, chain=3), last("b", PlaylistCursor(item=1, at=5), run=2)) == PlaylistCursor()


def test_a_takeover_goes_on_at_the_very_position() -> None:
    at = PlaylistCursor(item=1, range=0, loop=4, at=99)
    assert begins(record("abc", run=1), last("b", at)) == at


def test_a_list_that_changed_while_nobody_played() -> None:
    was = last("b", PlaylistCursor(item=1, at=5), number=0)
    assert begins(record("xb", run=1, number=1), was) == PlaylistCursor()
    assert begins(record("bx", run=1, number=1, wait_current=True), was) == PlaylistCursor(item=0, at=5)


def test_a_resume_finds_the_file_again() -> None:
    at = PlaylistCursor(item=1, loop=2, at=99)
    assert begins(record("abb"), last("b", at)) == at
    assert begins(record("xxb"), last("b", at)) == PlaylistCursor(item=2, loop=2, at=99)
    assert begins(record("xxx"), last("b", at)) == PlaylistCursor()
    assert begins(record("ab", loops=2), last("b", at)).loop == 1


def test_a_resume_finds_the_range_again() -> None:
    parts = (Range(start=10, end=20), Range(start=50, end=60))
    assert begins(record("a", ranges=parts), last("a", PlaylistCursor(range=1, at=55))) == PlaylistCursor(
        range=1, at=55
    )
    assert begins(record("a", ranges=parts), last("a", PlaylistCursor(range=1, at=0))) == PlaylistCursor(range=1, at=0)
    assert begins(record("a", ranges=parts), last("a", PlaylistCursor(range=3, at=15))) == PlaylistCursor(
        range=0, at=15
    )
    assert begins(record("a", ranges=parts), last("a", PlaylistCursor(range=3, at=30))) == PlaylistCursor()
    assert begins(record("a"), last("a", PlaylistCursor(range=3, at=30))) == PlaylistCursor(at=30)
