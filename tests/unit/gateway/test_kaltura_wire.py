"""The wire of the Kaltura API: what clients write becomes calls, and results become XML or JSON."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.facades.kaltura.calls import MOST_CALLS, asked_of, resolved
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.multipart import MOST_PARTS
from services.gateway.facades.kaltura.params import items_of, of_form, read_request
from services.gateway.facades.kaltura.render import render
from services.gateway.facades.kaltura.values import Fields

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def read(path: str = "/api_v3/", query: str = "", kind: str = "", body: str | bytes = b"") -> dict[str, Any]:
    return read_request(path, query, kind, body.encode() if isinstance(body, str) else body)


def the_call(**given: Any) -> tuple[str, str, dict[str, Any]]:
    (call,) = asked_of(read(**given)).calls
    return call.service, call.action, call.params


@pytest.mark.parametrize(
    "given",
    [
        {"path": "/api_v3/service/liveStream/action/isLive/id/0_a/protocol/hls"},
        {"path": "/api_v3/index.php/service/LIVESTREAM/action/ISLIVE", "query": "id=0_a&protocol=hls"},
        {"path": "/api_v3/index.php", "query": "service=livestream&action=isLive&id=0_a&protocol=hls"},
        {"path": "/api_v3/service/livestream/action/islive", "kind": FORM, "body": "id=0_a&protocol=hls"},
        {"path": "/api_v3/Service/livestream/Action/islive", "kind": JSON, "body": '{"id":"0_a","protocol":"hls"}'},
        {"path": "/api_v3/service/livestream/action/islive", "kind": "", "body": '{"id":"0_a","protocol":"hls"}'},
    ],
)  # fmt: skip
def test_a_call_is_the_same_however_it_is_written(given: dict[str, Any]) -> None:
    assert the_call(**given) == ("livestream", "islive", {"id": "0_a", "protocol": "hls"})


def test_values_are_texts_nulls_and_lists_are_read() -> None:
    body = {"a__null": "", "b": {"-": ""}, "c": {"x__null": "", "y": True}, "d": 1.5, "e": [False, None], "f": 7}
    params = read(kind=JSON, body=json.dumps(body))
    assert params == {"a": None, "b": [], "c": {"x": None, "y": "1"}, "d": "1.5", "e": ["0", None], "f": "7"}
    form = "o:item1:k=v&s:0:b=1&s:10:b=3&s:2:b=2&n__null=&o:k2__null="
    params = read(kind=FORM, body=form)
    assert params["n"] is None
    assert params["o"] == {"item1": {"k": "v"}, "k2": None}
    assert [one["b"] for one in items_of(params["s"])] == ["1", "2", "3"]


def test_multipart_gives_its_json_and_its_fields() -> None:
    parts = [
        b'Content-Disposition: form-data; name="json"\r\n\r\n{"entryId":"0_a"}',
        b'Content-Disposition: form-data; name="fileData"; filename="a.bin"\r\n\r\n\x00\xff\r\n--Q\r\n',
        b'Content-Disposition: form-data; name="x:y"\r\n\r\nz',
    ]
    body = b"".join(b"--QQ\r\n" + part + b"\r\n" for part in parts) + b"--QQ--\r\n"
    assert read(kind='multipart/form-data; boundary="QQ"', body=body) == {"entryId": "0_a", "x": {"y": "z"}}
    many = b"".join(b"--QQ\r\n" + parts[2] + b"\r\n" for _ in range(MOST_PARTS + 1)) + b"--QQ--\r\n"
    for wrong in (many, body[:-10], b"--QQ\r\nno head\r\n--QQ--", b""):
        if wrong:
            with pytest.raises(KalturaError):
                read(kind="multipart/form-data; boundary=QQ", body=wrong)


def test_a_multirequest_inherits_and_names_earlier_results() -> None:
    body = {
        "ks": "K", "partnerId": "7", "name": "not inherited",
        "0": {"service": "a", "action": "B", "ks": "own"},
        "10": {"service": "c", "action": "d", "id": "{1:result:id}", "in": [{"x": "{1:result:objects:1:n}"}],
               "y": "a{1:result:t}"},
        "2": {"service": "e", "action": "f"},
    }  # fmt: skip
    asked = asked_of(read("/api_v3/service/multirequest", kind=JSON, body=json.dumps(body)))
    assert asked.multiple
    assert [call.service for call in asked.calls] == ["a", "e", "c"]
    assert [call.params["ks"] for call in asked.calls] == ["own", "K", "K"]
    assert all("name" not in call.params for call in asked.calls)
    result = {"id": "0_a", "t": True, "objects": [{"n": 1}, {"n": 2}]}
    third = resolved(asked.calls[2].params, [result, None])
    assert (third["id"], third["in"], third["y"]) == ("0_a", [{"x": "2"}], "a1")
    for results in ([], [KalturaError("MISSING_KS")], [{"id": {}}], [[1]]):
        with pytest.raises(KalturaError, match="multirequest token"):
            resolved(asked.calls[2].params, results)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": JSON, "body": "[1]"}, {"kind": JSON, "body": "{"},
        {"kind": JSON, "body": '{"a":' * 30 + "1" + "}" * 30},
        {"kind": FORM, "body": ":".join("a" * 20) + "=1"}, {"kind": FORM, "body": "a=1&a:b=2"},
        {"kind": FORM, "body": "a:b=2&a=1"}, {"kind": FORM, "body": "&".join(f"f{n}=1" for n in range(3000))},
        {"kind": FORM, "body": b"\xff\xfe=1"}, {"kind": "multipart/form-data", "body": "x"},
        {"path": "/api_v3/" + "a/b/" * 5000},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_an_exception_of_the_api(given: dict[str, Any]) -> None:
    with pytest.raises(KalturaError) as error:
        asked_of(read(**given))
    assert error.value.code in {"INVALID_PARAMETERS", "SERVICE_NOT_SPECIFIED"}


def test_too_many_calls_and_references_are_refused() -> None:
    body = {str(n): {"service": "a", "action": "b"} for n in range(MOST_CALLS + 1)}
    with pytest.raises(KalturaError):
        asked_of(body | {"service": "multirequest"})
    with pytest.raises(KalturaError):
        asked_of({"service": "multirequest", "1": {"service": "a", "x": "{1:result}" * 201}})


def test_results_are_written_as_the_clients_read_them() -> None:
    entry = {"objectType": "KalturaLiveStreamEntry", "id": "0_a", "name": "<&\x00>", "none": None, "live": True}
    listed = {"objectType": "L", "objects": [entry], "totalCount": 1}
    error = KalturaError("ENTRY_ID_NOT_FOUND", ENTRY_ID="0_x")
    root = ET.fromstring(render([listed, error, None, False], "2", 0.5))
    first, second, third, fourth = root.findall("result/item")
    assert first.findtext("objects/item/name") == "<&\ufffd>"
    assert first.findtext("objects/item/live") == "1"
    assert first.find("objects/item/none") is None
    assert second.findtext("error/code") == "ENTRY_ID_NOT_FOUND"
    assert second.findtext("error/args/item/value") == "0_x"
    assert (third.text, fourth.text, root.findtext("executionTime")) == (None, "0", "0.500000")
    shown = json.loads(render([listed, error], "1", 0))
    assert shown[0]["objects"] == [
        {"objectType": "KalturaLiveStreamEntry", "id": "0_a", "name": "<&\x00>", "live": True}
    ]
    assert shown[1] == {
        "code": "ENTRY_ID_NOT_FOUND", "message": 'Entry id "0_x" not found', "objectType": "KalturaAPIException",
        "args": {"ENTRY_ID": "0_x"},
    }  # fmt: skip


def test_fields_are_read_as_what_they_are() -> None:
    fields = Fields(of_form([("n", "5.0"), ("t", "True"), ("f", "False"), ("w", "x"), ("e", "2"), ("big", "9" * 20)]))
    assert (fields.number("n", 0), fields.flag("t"), fields.flag("f", default=True), fields.number("no", 7)) == (
        5,
        True,
        False,
        7,
    )
    assert fields.choice("e", 0, "E", {0, 2}) == 2
    for wrong in (
        lambda: fields.number("w", 0), lambda: fields.number("n", 0, most=4), lambda: fields.number("n", 0, least=6),
        lambda: fields.choice("e", 0, "E", {0, 1}), lambda: fields.need("no"), lambda: fields.text("w", longest=0),
        lambda: fields.number("big", 0),
    ):  # fmt: skip
        with pytest.raises(KalturaError):
            wrong()


NAMES = st.text(max_size=5) | st.sampled_from(["1", "2", "service", "action"])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["{1:result:a}", "{0:result}"])
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


def served(**given: Any) -> None:
    """Read and answer a request; only the API's exceptions may come."""
    try:
        asked = asked_of(read(**given))
        results: list[Any] = []
        for call in asked.calls:
            results.append(resolved(call.params, results))
    except KalturaError as error:
        results = [error]
    for form in ("1", "2"):
        render([r if isinstance(r, KalturaError) else str(r) for r in results], form, 0)


@given(TREES, st.sampled_from(["/api_v3/service/multirequest", "/api_v3/", "/api_v3/a/b/c"]))
def test_any_json_is_read_or_refused(tree: Any, path: str) -> None:
    served(path=path, kind=JSON, body=json.dumps(tree))


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=8)), max_size=8))
def test_any_form_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    safe = [
        (name.encode("utf-8", "replace").decode(), text.encode("utf-8", "replace").decode()) for name, text in pairs
    ]
    served(kind=FORM, body=urlencode(safe), query=urlencode(safe))


@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, "multipart/form-data; boundary=Q", "", "text/x"]))
def test_any_bytes_are_read_or_refused(body: bytes, kind: str) -> None:
    served(kind=kind, body=body)
    served(kind="multipart/form-data; boundary=Q", body=b"--Q\r\n" + body + b"\r\n--Q--")
