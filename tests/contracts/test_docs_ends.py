"""docs/operations.md, "Retention": everything that is kept says what its end is, and who brings it about."""

import re
from pathlib import Path

from shared.broker.streams import BUCKETS, STREAMS

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.search(r"^## Retention$(.*?)^## ", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = {name: rest for name, *rest in ROW.findall(SECTION[1] if SECTION else "")}
FOLDERS = {"media/live/", "media/clips/", "media/pictures/", "library/", "spool/", "nats/"}


def test_every_stream_bucket_and_folder_has_an_end() -> None:
    assert set(ROWS) == {s.name for s in STREAMS} | {b.name for b in BUCKETS} | FOLDERS


def test_what_ends_by_age_says_the_age_that_the_tables_have() -> None:
    for spec in BUCKETS:
        _what, by, when = ROWS[spec.name]
        if spec.ttl:
            days, seconds = spec.ttl.days, int(spec.ttl.total_seconds())
            ages = {f"after {days} days", f"after {seconds // 3600} h", f"after {seconds} s", "after a day"}
            assert by == "the broker", spec.name
            assert when in ages, spec.name
            assert when != "after a day" or days == 1
        else:
            assert by in {spec.owner, *spec.removers}, spec.name
    for stream in STREAMS:
        if stream.max_age and stream.max_age.days > 2:
            assert f"after {stream.max_age.days} days" in ROWS[stream.name][2]
        elif stream.max_age:
            assert f"after {int(stream.max_age.total_seconds()) // 3600} h" in ROWS[stream.name][2]


def test_nothing_is_kept_for_ever_by_the_broker_without_a_bound() -> None:
    assert all(stream.max_bytes > 0 for stream in STREAMS)
