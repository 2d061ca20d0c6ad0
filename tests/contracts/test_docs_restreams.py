"""docs/restreams.md against the code: every text of a callback, every limit, setting, state and log line is in it."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from services.gateway.domain.restreams.restreams import LARGEST_COMMAND
from services.gateway.facades.cdnetworks import models, translate
from services.notifier.retries import DEFAULT
from services.restreamer import decide, quiet, records
from services.restreamer.sources import Limits
from services.restreamer.targets import TargetRules
from shared.messages import restreams
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/restreams.md").read_text()
ALL = re.sub(r"\s+", " ", PAGE)
SOURCES, TARGETS = Limits(), TargetRules()
MINUTES, HOURS, DAYS = (timedelta(**{name: 1}) for name in ("minutes", "hours", "days"))


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return re.sub(r"\s+", " ", found[1])


def texts(path: str, *functions: str) -> list[str]:
    """Give the words that functions put into texts: constants, and what stands between the fields of f-strings."""
    tree = ast.parse((ROOT / path).read_text())
    bodies = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in functions]
    assert len(bodies) == len(functions)
    words = [
        node.value.strip()
        for body in bodies
        for part in body.body[bool(ast.get_docstring(body)) :]
        for node in ast.walk(part)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [word for word in words if len(word) > 7 and word not in get_args(restreams.TargetState)]


@pytest.mark.parametrize(
    "text",
    [
        *texts("services/notifier/forms/cdnetworks.py", "_said", "_end_said", "_target_said"),
        *texts("services/restreamer/following.py", "refusal_of")[-2:],
    ],
)
def test_every_text_of_a_callback_is_in_its_table(text: str) -> None:
    assert text.removeprefix(", ") in section("What a callback says")


def test_the_search_for_texts_finds_those_that_are_known() -> None:
    found = texts("services/notifier/forms/cdnetworks.py", "_said", "_end_said", "_target_said")
    assert {"Start pushing!", "Task terminated!", "Push failed:", "the push to"} <= set(found)


LIMITS = [
    restreams.MOST_ITEMS, restreams.MOST_TARGETS, restreams.MOST_RANGES, translate.MOST_SRCURL, models.MOST_TASKS,
    LARGEST_COMMAND, f"{restreams.WIDEST}x{restreams.HIGHEST}", f"{translate.LEAST_LENGTH // MINUTES} minutes",
    f"{decide.RESUMABLE // HOURS} hours", f"{records.KEPT // DAYS} days", f"{SOURCES.picture >> 20} MiB",
    f"{SOURCES.side} pixels", f"{SOURCES.playlist >> 20} MiB, {SOURCES.segments}",
    f"`REELAY_RESTREAMS` ({Settings.model_fields['restreams'].default})",
]  # fmt: skip
MODELS = ((restreams.RestreamSpec, "name"), (restreams.RestreamSpec, "loops"), (restreams.RestreamSpec, "tries"))


@pytest.mark.parametrize("limit", [*LIMITS, *(m.le if hasattr(m, "le") else m.max_length for model, name in MODELS
                                              for m in model.model_fields[name].metadata
                                              if hasattr(m, "le") or hasattr(m, "max_length"))])  # fmt: skip
def test_every_limit_is_in_its_table(limit: object) -> None:
    assert re.search(rf"(?<!\d){re.escape(str(limit))}(?!\d)", section("Limits"))


def test_what_is_tried_again_is_told_with_its_numbers() -> None:
    told = section("What is skipped, what is tried again")
    for text in (
        f"silent for {SOURCES.patience.seconds} s", f"broke, {SOURCES.tries} times",
        f"within {TARGETS.call_within.seconds} s", f"after {TARGETS.quick.seconds} s",
        f"after {TARGETS.shortest.seconds} s, doubling to {TARGETS.longest.seconds} s",
        f"nothing for {TARGETS.stuck_after.seconds} s", f"{TARGETS.queue_bytes >> 20} MiB wait",
        f"in a row ({restreams.RestreamSpec.model_fields['tries'].default})",
    ):  # fmt: skip
        assert text in told, text
    read = section("What a callback says")
    pauses = [min(delay, DEFAULT.brief_pause).seconds for delay in DEFAULT.delays[: DEFAULT.brief_tries - 1]]
    assert pauses == [5, 30, 30]
    assert f"after {pauses[0]} s and twice after {pauses[1]} s" in read
    assert f"within {DEFAULT.whole.seconds} s" in read
    assert DEFAULT.brief_lifetime == HOURS
    assert "called for an hour" in read
    assert f"{quiet.FIRST_QUIET.seconds} s, doubling to an hour" in read
    assert quiet.LONGEST_QUIET == HOURS
    assert f"sent for {quiet.FIRST_QUIET.seconds} s without a break" in read
    assert quiet.STEADY == 10 * MINUTES


@pytest.mark.parametrize(
    "name",
    [
        "allow_nets",
        "ca_file",
        "srt_out_ports",
        "target_pause",
        "restreams",
        "source_spool",
        "source_memory",
        "source_cpu",
    ],
)
def test_every_setting_of_restreams_is_named(name: str) -> None:
    assert name in Settings.model_fields
    assert f"REELAY_{name.upper()}" in PAGE


@pytest.mark.parametrize("state", [*get_args(restreams.State), *get_args(restreams.TargetState)])
def test_every_state_is_told(state: str) -> None:
    assert f"`{state}`" in section("States")


def test_every_log_line_that_it_names_is_written() -> None:
    code = "".join(path.read_text() for path in (ROOT / "services/restreamer").rglob("*.py"))
    named = re.findall(r"`(restream\.[a-z_.]+)`", section("What the log says"))
    assert len(named) > 8
    assert all(f'"{name}"' in code for name in named), named
