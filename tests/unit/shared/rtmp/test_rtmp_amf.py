"""AMF0 and AMF3: what encoders send reads as it was meant, anything else ends in a known error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.rtmp.amf import EcmaArray, decode, encode
from shared.rtmp.errors import LimitExceeded, ProtocolError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=5))
def test_amf0_reads_back(written: list[object]) -> None:
    assert decode(encode(*written)) == written


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_ends_in_a_known_error(data: bytes) -> None:
    for head in (b"", b"\x11"):
        try:
            decode(head + data)
        except (ProtocolError, LimitExceeded):
            continue


def test_ecma_arrays_and_long_strings() -> None:
    written = ["onMetaData", EcmaArray(width=1920.0, note="x" * 70000)]
    assert decode(encode(*written)) == written


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("0b" + struct.pack(">d", 1.7e12).hex() + "0000", 1.7e12),  # date
        ("070001", None),  # reference
        ("06", None),
        ("0d", None),
        ("0f00000003786d6c", "xml"),
        ("1000035479700001610100000009", {"a": False}),
    ],
)
def test_rarer_amf0(raw: str, value: object) -> None:
    assert decode(bytes.fromhex(raw)) == [value]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1100", None),
        ("1102", False),
        ("1103", True),
        ("110405", 5.0),
        ("1104ffffffff", -1.0),
        ("11053ff8000000000000", 1.5),
        ("110605" + b"ab".hex(), "ab"),
        ("110c05" + b"ab".hex(), b"ab"),
        ("11090501" + "0401" + "0402", [1.0, 2.0]),
        # an object with one sealed member "k", a dynamic one "d", and a string reference
        ("110a1b01" + "03" + b"k".hex() + "0600" + "03" + b"d".hex() + "0401" + "01", {"k": "k", "d": 1.0}),
    ],
)
def test_amf3(raw: str, value: object) -> None:
    assert decode(bytes.fromhex(raw)) == [value]


@pytest.mark.parametrize(
    "raw",
    [
        "0a000000010affffffff",  # an array that claims 4 billion members
        ("0a00000001") * 40,  # nested too deep
        "1109ffffffff01",  # the same in AMF3
        "110affffffff01",
    ],
)
def test_what_claims_too_much_is_refused_without_the_memory(raw: str) -> None:
    with pytest.raises((LimitExceeded, ProtocolError)):
        decode(bytes.fromhex(raw))


def test_what_comes_before_a_bad_value_can_be_kept() -> None:
    raw = encode("onMetaData", EcmaArray(width=1.0)) + b"\x09"
    assert decode(raw, strict=False) == ["onMetaData", {"width": 1.0}]
    with pytest.raises(ProtocolError):
        decode(raw)


def test_too_many_values() -> None:
    with pytest.raises(LimitExceeded):
        decode(b"\x05" * 2000)
    assert len(decode(b"\x05" * 2000, values=2000)) == 2000


@pytest.mark.parametrize(
    "raw", ["0200056162", "1000035479700001610100", "00", "99", "0300016101", "1106", "110602", "110a07", "1130"]
)
def test_cut_short_or_unknown(raw: str) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(raw))
