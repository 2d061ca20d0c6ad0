"""Pages of the streamer API's collections: filters, order, cursors, chosen fields; merging; names."""

from typing import Any

import pytest

from services.gateway.domain.errors import Invalid
from services.gateway.facades.flussonic.collection import asked, page
from services.gateway.facades.flussonic.models import merged
from services.gateway.facades.flussonic.names import is_name

ITEMS: list[dict[str, Any]] = [
    {"name": "cam1", "title": "Front door", "stats": {"alive": True, "bitrate": 900}},
    {"name": "cam2", "title": "Back door", "stats": {"alive": False}},
    {"name": "cam10", "stats": {"alive": True, "bitrate": 4000}},
    {"name": "a/b", "title": "Hall", "stats": {"alive": True, "bitrate": 900}},
]


def names(query: str) -> list[str]:
    pairs = [(part.partition("=")[0], part.partition("=")[2]) for part in query.split("&") if part]
    return [item["name"] for item in page(ITEMS, asked(pairs), "streams")["streams"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a/b", "cam1", "cam10", "cam2"]),
        ("sort=-name", ["cam2", "cam10", "cam1", "a/b"]),
        ("sort=-stats.bitrate,name", ["cam10", "a/b", "cam1", "cam2"]),
        ("sort=stats.bitrate,-name", ["cam2", "cam1", "a/b", "cam10"]),
        ("name=cam1", ["cam1"]),
        ("name=cam1,cam2", ["cam1", "cam2"]),
        ("name_like=cam", ["cam1", "cam10", "cam2"]),
        ("title_is=null", ["cam10"]),
        ("stats.bitrate_is=not_null", ["a/b", "cam1", "cam10"]),
        ("stats.alive=true", ["a/b", "cam1", "cam10"]),
        ("stats.bitrate_gt=900", ["cam10"]),
        ("stats.bitrate_gte=900&name_gt=b", ["cam1", "cam10"]),
        ("stats.bitrate_lt=900", []),
        ("stats.bitrate_lte=900", ["a/b", "cam1"]),
        ("q=door", ["cam1", "cam2"]),
        ("q=DOOR front", ["cam1"]),
        ("nothing=1", []),
        ("limit=2", ["a/b", "cam1"]),
    ],
)
def test_filters_and_orders(query: str, found: list[str]) -> None:
    assert names(query) == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ([("limit", "0")], "limit"),
        ([("limit", "x")], "limit"),
        ([("limit", "1001")], "limit"),
        ([("limit", "0010009999999")], "limit"),
        ([("limit", "9" * 5000)], "limit"),
        ([("cursor", "?")], "cursor"),
        ([("cursor", "WzFd")], "cursor"),
        ([("cursor", "bnVsbA")], "cursor"),
    ],
)
def test_what_is_wrong_is_named(query: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(Invalid) as error:
        asked(query)
    assert error.value.faults[0].field == field


@pytest.mark.parametrize("sort", ["name", "-name", "stats.bitrate,-name", "-title"])
def test_cursors_lead_forth_and_back_through_every_item_once(sort: str) -> None:
    whole = [item["name"] for item in page(ITEMS, asked([("sort", sort)]), "s")["s"]]
    seen, cursor, pages = [], None, []
    while True:
        answer = page(ITEMS, asked([("limit", "1"), ("sort", sort), *([("cursor", cursor)] if cursor else [])]), "s")
        assert answer["estimated_count"] == 4
        seen += [item["name"] for item in answer["s"]]
        pages.append(answer)
        cursor = answer.get("next")
        if cursor is None:
            break
    assert seen == whole
    assert "prev" not in pages[0]
    back = page(ITEMS, asked([("limit", "1"), ("sort", sort), ("cursor", pages[2]["prev"])]), "s")
    assert [item["name"] for item in back["s"]] == [whole[1]]


def test_select_keeps_the_name_and_what_is_asked_for() -> None:
    found = page(ITEMS, asked([("select", "stats.alive,title"), ("name", "cam2")]), "streams")["streams"]
    assert found == [{"name": "cam2", "title": "Back door", "stats": {"alive": False}}]
    assert ITEMS[0]["stats"]["bitrate"] == 900  # nothing was cut out of what it was taken from


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({}, {"title": "a"}, {"title": "a"}),
        ({"title": "a", "dvr": {"root": "/x", "expiration": 1}}, {"dvr": {"expiration": 2}},
         {"title": "a", "dvr": {"root": "/x", "expiration": 2}}),
        ({"title": "a", "dvr": {"root": "/x"}}, {"dvr": None}, {"title": "a"}),
        ({"dvr": {"root": "/x", "expiration": 1}}, {"dvr": {"root": None}}, {"dvr": {"expiration": 1}}),
        ({"inputs": [{"url": "a://"}]}, {"inputs": [{"url": "b://"}]}, {"inputs": [{"url": "b://"}]}),
        ({"title": "a", "dvr": {"root": "/x"}}, {"$reset": True, "title": "b"}, {"title": "b"}),
        ({"title": "a"}, {"$reset": False, "x": 1}, {"title": "a", "x": 1}),
    ],
)  # fmt: skip
def test_a_put_merges(before: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]) -> None:
    kept = repr(before)
    assert merged(before, patch) == after
    assert repr(before) == kept


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("cam", True), ("a/b/c", True), ("a-b_c.d", True), ("0" * 32, True), ("", False), ("/a", False), ("a/", False),
        ("a//b", False), ("../a", False), ("a/../b", False), ("a b", False), ("é", False), ("x" * 201, False),
        ("v1", False), ("V1/x", False), ("play/x", False), ("api", False), ("streamer", False), ("x/v1", True),
        ("a/stop", False), ("a/dvr/ranges", False), ("a/dvr", True), ("a%2Fb", False), ("a?b", False),
    ],
)  # fmt: skip
def test_names(text: str, good: bool) -> None:
    assert is_name(text) is good
