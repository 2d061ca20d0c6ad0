"""What the docs quote of the product's words, the product says: error codes of the API, and log lines."""

from __future__ import annotations

import re

from services.gateway.http.problems import CODES
from shared.broker.subjects import CHANNELS
from tests.support.source_tree import PRODUCT, ROOT, sources, strings

API = (ROOT / "docs/api.md").read_text()
ERRORS = re.search(r"^## Errors$(.*?)^## ", API, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| ([\d, ]+) \| ([^|]*) \|", ERRORS[1] if ERRORS else "", re.MULTILINE)
QUOTED = re.compile(r"`([a-z]+(?:\.[a-z_]+)+)`")
FILES = (".py", ".yaml", ".conf", ".key", ".json", ".lock", ".example")
CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)*")


def said() -> set[str]:
    return {value for path in sources(*PRODUCT) for _, value in strings(path)}


def test_every_status_and_its_code_are_in_the_table_of_errors() -> None:
    statuses = {int(status) for statuses, _ in ROWS for status in statuses.split(",")}
    codes = {code for _, names in ROWS for code in re.findall(r"`([A-Z_]+)`", names)}
    assert set(CODES) | {400} == statuses
    assert set(CODES.values()) <= codes
    assert {code for code in codes if CODE.fullmatch(code)} <= said()


def test_every_log_line_that_the_docs_quote_is_logged() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    quoted = {name for page in pages for name in QUOTED.findall(page.read_text()) if not name.endswith(FILES)}
    assert quoted - {channel.name for channel in CHANNELS} <= said() | {"services.restreamer.sources.apart"}
