"""Files and functions are short. What is longer is listed with its reason, and the lists may only shrink."""

from __future__ import annotations

from pathlib import Path

from tests.support.source_tree import functions, name, sources

PRODUCT = sources("shared", "services", "scripts")
TESTS = sources("tests")
LONGEST_FILE, LONGEST_FUNCTION = 300, 40
LONGEST_TEST_FILE, LONGEST_TEST_FUNCTION = 350, 45  # tables of cases, and one story told from its beginning to its end

LONG_FILES = {
    "services/gateway/http/protocol.py": "one connection's phases, which decide about each other",
    "services/ingester/recorder/timing.py": "one clock, and the cases in which encoders' times mislead it",
    "services/ingester/recorder/units.py": "one grouping of NAL units, codec by codec",
    "services/restreamer/playout/reading/reader.py": "one thread's states: each step asks for new wishes",
    "services/restreamer/sources/containers/file_media.py": "one file's states: opened, sought, gone on with",
}
LONG_FUNCTIONS = {
    "services/ingester/app.py build": "joins the parts, a line each",
    "services/restreamer/sources/containers/file_media.py __init__": "what is known of a file once it is opened",
}
LONG_TEST_FILES: dict[str, str] = {}
LONG_TEST_FUNCTIONS = {
    "tests/support/hls_check.py read_media": "a playlist's tags, one after the other",
    "tests/support/publishers_bytes.py parsers": "a parser a protocol",
}


def long_files(paths: tuple[Path, ...], most: int) -> set[str]:
    return {name(path) for path in paths if path.read_text().count("\n") > most}


def long_functions(paths: tuple[Path, ...], most: int) -> set[str]:
    return {
        f"{name(path)} {node.name}"
        for path in paths for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > most
    }  # fmt: skip


def test_files_of_the_product_are_short() -> None:
    found = long_files(PRODUCT, LONGEST_FILE)
    assert not found - set(LONG_FILES), f"longer than {LONGEST_FILE} lines: split by what they do"
    assert not set(LONG_FILES) - found, "short by now: no exception any more"


def test_functions_of_the_product_are_short() -> None:
    found = long_functions(PRODUCT, LONGEST_FUNCTION)
    assert not found - set(LONG_FUNCTIONS), f"longer than {LONGEST_FUNCTION} lines"
    assert not set(LONG_FUNCTIONS) - found, "short by now: no exception any more"


def test_files_of_tests_are_short() -> None:
    found = long_files(TESTS, LONGEST_TEST_FILE)
    assert not found - set(LONG_TEST_FILES), f"longer than {LONGEST_TEST_FILE} lines: split by what is tested"
    assert not set(LONG_TEST_FILES) - found, "short by now: no exception any more"


def test_functions_of_tests_are_short() -> None:
    found = long_functions(TESTS, LONGEST_TEST_FUNCTION)
    assert not found - set(LONG_TEST_FUNCTIONS), f"longer than {LONGEST_TEST_FUNCTION} lines"
    assert not set(LONG_TEST_FUNCTIONS) - found, "short by now: no exception any more"
