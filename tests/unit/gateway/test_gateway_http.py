"""Bodies, ranges, pages, names of files."""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from services.gateway.domain.clips.file_names import file_name
from services.gateway.domain.errors import Invalid
from services.gateway.domain.lists.pages import Paging, read_token
from services.gateway.http import bodies
from services.gateway.http.bodies import MOST_ITEMS, Malformed, exact, parse_json
from services.gateway.http.files import disposition
from services.gateway.http.problems import faults_of
from services.gateway.http.ranges import ByteRange, Unsatisfiable, matches, meets, wanted
from services.gateway.native.jobs.models import JobCreate


def test_fractions_stay_exact() -> None:
    value = parse_json(b'{"a": 4.033333333, "b": 0.1, "c": 1.5e2, "d": 7}')
    assert exact(value["a"]) == Fraction(4_033_333_333, 10**9)
    assert exact(value["b"]) == Fraction(1, 10)
    assert exact(value["c"]) == 150
    assert exact(value["d"]) == 7


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"", "line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{\n  "a": 1,\n}', "line [23] column"),
        (b'{"outputs": [}', "line 1 column 14"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "b": {"a": 2, "c": 3, "a": 2}}', 'key "a" comes twice'),
        (b'{"\\ud800": 1, "\\ud800": 2}', r'key "\\ud800" comes twice'),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 50 + b"]" * 50, "nested too deeply"),
        (b"[" + b"0," * MOST_ITEMS + b"0]", "more than 20000 values"),
        (b"[" + b"[]," * MOST_ITEMS + b"0]", "more than 20000 values"),
        (b'{"a": {' + b",".join(b'"%x": 0' % i for i in range(MOST_ITEMS // 2)) + b"}}", "more than 20000 values"),
        (b"1" * 5000, "too long"),
        (b"0." + b"1" * 5000, "too long"),
        (b'{"event_length": 1E+100000000}', "out of range"),
        (b'{"event_length": 1E-100000000}', "out of range"),
        (b'{"kept": 1e400}', "out of range"),
        (b'{"kept": 1E-999999999999999999999}', "out of range"),
    ],
)
def test_malformed_json_is_told_with_its_place(text: bytes, place: str) -> None:
    with pytest.raises(Malformed, match=place):
        parse_json(text)


class _CountedKey(str):
    """A key that counts how often it is hashed or compared: the steps of whoever looks for it."""

    __slots__ = ()

    steps = 0

    def __hash__(self) -> int:
        _CountedKey.steps += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        _CountedKey.steps += 1
        return super().__eq__(other)


def test_a_key_that_comes_twice_is_found_in_steps_that_grow_with_the_keys_alone() -> None:
    """A body of the largest size holds some 150,000 keys of this kind."""
    steps = []
    for count in (1_000, 150_000):
        pairs = [(_CountedKey(f"{i:x}"), 0) for i in range(count)]
        _CountedKey.steps = 0
        with pytest.raises(Malformed, match="comes twice"):
            bodies._object([*pairs, pairs[-1]])
        steps.append(_CountedKey.steps / count)
    assert max(steps) < 8, steps


def test_true_is_no_number_of_seconds() -> None:
    with pytest.raises(ValidationError, match="whole number"):
        JobCreate.model_validate({"reconnect_time": True})
    assert JobCreate.model_validate({"reconnect_time": "30", "event_length": Decimal("1e2")}).event_length == 100


class _Sample(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=3)] = "x"
    number: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    yes: bool = True
    always: Literal[True] = True
    order: Literal["asc", "desc"] = "asc"
    many: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    inner: JobCreate | None = None
    table: dict[str, int] = {}
    day: date | None = None
    exact: Annotated[Decimal, Field(max_digits=5, decimal_places=2)] = Decimal(1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": ""}, "text: must have at least 1 character"),
        ({"text": "four"}, "text: must have at most 3 characters"),
        ({"text": 3}, "text: must be a string"),
        ({"number": 0}, "number: must be at least 1"),
        ({"number": 10}, "number: must be at most 9"),
        ({"number": "x"}, "number: must be a whole number"),
        ({"number": Decimal("1.5")}, "number: must be a whole number"),
        ({"number": None}, "number: must be a whole number"),
        ({"share": 0}, "share: must be more than 0.0"),
        ({"share": 1}, "share: must be less than 1.0"),
        ({"share": []}, "share: must be a number"),
        ({"yes": "maybe"}, "yes: must be true or false"),
        ({"always": False}, "always: must be true"),
        ({"order": "up"}, "order: must be 'asc' or 'desc'"),
        ({"many": []}, "many: must have at least 1 entry"),
        ({"many": [1, 2, 3]}, "many: must have at most 2 entries"),
        ({"many": {}}, "many: must be a list"),
        ({"inner": 7}, "inner: must be an object"),
        ({"table": 7}, "table: must be an object"),
        ({"exact": "x"}, "exact: must be a number"),
        ({"exact": []}, "exact: must be a number"),
        ({"exact": "0.001"}, "exact: must have at most 2 decimals"),
        ({"exact": "1234.5"}, "exact: must have at most 3 digits before the point"),
        ({"exact": "1234.56"}, "exact: must have at most 5 digits"),
        ({"day": "soon"}, "day: Input should be a valid date or datetime, input is too short"),
    ],
)
def test_a_bad_field_is_told_in_plain_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Sample.model_validate(fields)
    assert str(faults_of(caught.value.errors())) == message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=10))
def test_json_that_is_well_formed_is_read_as_written(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.text() | st.decimals() | st.integers())
def test_a_number_is_read_exactly_or_refused(value: str | Decimal | int) -> None:
    try:
        found = exact(value)
    except ValueError:
        return
    assert found == round(Fraction(str(value).strip()), 12)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"0.30000000000000004", Fraction(3, 10)),
        (b'"0.6000000000000001"', Fraction(3, 5)),
        (b"63.480000000000004", Fraction(6348, 100)),
        (b"5.551115123125783e-17", Fraction(0)),
        (b"-5.551115123125783e-17", Fraction(0)),
        (b"1795229355.6756654", Fraction(17952293556756654, 10**7)),
    ],
)
def test_what_floats_leave_over_moves_no_point(text: bytes, seconds: Fraction) -> None:
    assert exact(parse_json(text)) == seconds


SIZE = 1000


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, ByteRange(0, SIZE, part=False)),
        ("bytes=0-99", ByteRange(0, 100, part=True)),
        ("bytes=900-", ByteRange(900, 100, part=True)),
        ("bytes=-100", ByteRange(900, 100, part=True)),
        ("bytes=-5000", ByteRange(0, SIZE, part=True)),
        ("bytes=990-5000", ByteRange(990, 10, part=True)),
        ("bytes=5-4", ByteRange(0, SIZE, part=False)),
        ("bytes=0-1,5-6", ByteRange(0, SIZE, part=False)),
        ("lines=0-1", ByteRange(0, SIZE, part=False)),
        ("bytes=-", ByteRange(0, SIZE, part=False)),
        ("bytes=abc", ByteRange(0, SIZE, part=False)),
        ("Bytes=0-99", ByteRange(0, 100, part=True)),
        ("bytes=٣-5", ByteRange(0, SIZE, part=False)),
    ],
)
def test_a_range_is_served_or_ignored(header: str | None, span: ByteRange) -> None:
    assert wanted(header, None, '"a"', SIZE) == span


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=-0", "bytes=99999999999999999-"])
def test_a_range_outside_the_file_cannot_be_served(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(header, None, '"a"', SIZE)


def test_a_range_of_another_version_gives_the_whole_file() -> None:
    assert wanted("bytes=5-", '"a"', '"a"', SIZE).part
    assert not wanted("bytes=5-", '"b"', '"a"', SIZE).part
    assert not wanted("bytes=5-", 'W/"a"', '"a"', SIZE).part
    assert matches('W/"x", "a"', '"a"')
    assert not matches('"b"', '"a"')


@pytest.mark.parametrize(
    ("header", "met"),
    [
        (None, True), ('"a"', True), ("*", True), ('"b", "a"', True), ('"b"', False), ('W/"a"', False), ("", False),
    ],
)  # fmt: skip
def test_if_match_compares_strongly(header: str | None, met: bool) -> None:
    assert meets(header, '"a"') is met


def test_names_cannot_leave_their_header_or_folder() -> None:
    shown = disposition('a"b\r\nSet-Cookie: x/../é.mp4')
    assert "\r" not in shown
    assert "\n" not in shown
    assert "/" not in shown
    assert shown.isascii()
    assert file_name("../../Half time: 1–0!", "f" * 32) == f"Half-time-1-0-{'f' * 32}.mp4"
    assert file_name("…", "f" * 32) == f"{'f' * 32}.mp4"


@given(st.sets(st.tuples(st.integers(0, 50), st.text("abcdef", min_size=3, max_size=3))), st.integers(1, 7))
def test_pages_joined_are_the_list(items: set[tuple[int, str]], size: int) -> None:
    for direction in ("asc", "desc"):
        seen: list[tuple[int, str]] = []
        token = None
        while True:
            after = read_token(token) if token else None
            page = Paging(after, size, descending=direction == "desc").apply(items, lambda item: item)
            seen += page.items
            token = page.next_token
            if token is None:
                break
        assert seen == sorted(items, reverse=direction == "desc")


@pytest.mark.parametrize("token", ["%%%", "AAAA", "é", "MTI", "=" * 5])
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(Invalid):
        read_token(token)
