"""Each name that services share stands in one place: streams, durables, subjects, buckets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from shared.broker.streams import BUCKETS, CONSUMERS, STREAMS
from shared.broker.subjects import CHANNELS
from tests.support.source_tree import PRODUCT, ROOT, name, sources, strings, tree

SOURCES = sources(*PRODUCT)
STREAM_TABLE = ROOT / "shared/broker/streams.py"
DURABLE_TABLE = ROOT / "shared/broker/durables.py"
BUCKET_TABLE = ROOT / "shared/broker/buckets.py"
# What is given a bucket by its name.
TAKERS = {"Bucket", "Mirror", "Tally", "Catalogue", "super().__init__", "partial"}


def literals(names: set[str], but: set[str]) -> list[str]:
    """List where names are written out, other than in some files."""
    found = []
    for path in SOURCES:
        if name(path) not in but:
            found += [f"{name(path)}:{line}: {value}" for line, value in strings(path) if value in names]
    return found


def constants(path: Path, values: set[str]) -> Iterator[ast.expr]:
    """Yield what a file assigns one of the values to."""
    for node in ast.walk(tree(path)):
        assigned = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        if assigned and node.value.value in values:
            yield from node.targets if isinstance(node, ast.Assign) else [node.target]


def test_streams_are_named_in_their_table_only() -> None:
    assert not literals({spec.name for spec in STREAMS}, {name(STREAM_TABLE)})


def test_durables_are_named_in_their_table_only() -> None:
    assert not literals({spec.durable for spec in CONSUMERS}, {name(DURABLE_TABLE)})


def test_subjects_are_named_with_their_messages_only() -> None:
    heads = {channel.name for channel in CHANNELS}
    names = {f"{head}{tail}" for head in heads for tail in ("", ".>", ".*.*")}
    homes = {channel.model: ROOT / (channel.model.__module__.replace(".", "/") + ".py") for channel in CHANNELS}
    assert not literals(names, {name(home) for home in homes.values()})
    for model, home in homes.items():
        assert [value for _, value in strings(home)].count(model.channel) == 1, model


def test_buckets_are_named_in_their_table_only() -> None:
    """Their names are common words: looked for where a bucket is meant."""
    named = {spec.name for spec in BUCKETS}
    found = []
    for path in (path for path in SOURCES if path != BUCKET_TABLE):
        written = {ast.unparse(arg) for arg in constants(path, named)}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in TAKERS:
                given = {arg.value if isinstance(arg, ast.Constant) else ast.unparse(arg) for arg in node.args}
                found += [f"{name(path)}:{node.lineno}"] if given & (named | written) else []
    assert not found


def test_every_consumer_channel_and_bucket_has_an_owner_that_exists() -> None:
    services = {path.parent.name.replace("_", "-") for path in (ROOT / "services").glob("*/app.py")}
    assert {spec.service for spec in CONSUMERS} <= services
    assert {publisher for channel in CHANNELS for publisher in channel.publishers} <= services
    assert {spec.owner for spec in BUCKETS} <= services
