"""What a customer is told of a task, by real services: a restreamer, a notifier, an RTMP server and a receiver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import framecode_record
from tests.support.nats import nats_server
from tests.support.restream_desk import Desk, desk
from tests.support.restream_receiver import Receiver, receiver
from tests.support.shared_bus import child, settings_for
from tests.support.subscriptions import cdn_subscription, task
from tests.support.webhook_receiver import Receiver as Hook
from tests.support.webhook_receiver import webhook_receiver
from tests.support.webhook_stack import eventually

SRC = json.dumps([{"url": "a.mp4"}])


@dataclass(frozen=True)
class Case:
    """A task of one loop: its files, its targets' keys, and what is told; states are those at the end."""

    files: tuple[str, ...]
    keys: tuple[str, ...]
    told: tuple[tuple[str, str], ...]
    state: str
    targets: tuple[str, ...]
    skipped: tuple[str, ...] = field(default=())


REFUSED = ("Push failed: refused.*", "1")
SKIPPED = ("there is no such file in the library .*", "2")
CASES = {
    "all is well": Case(("a.mp4",), ("x",), (("Start pushing!", "0"), ("Task ended!", "0")), "ended", ("removed",)),
    "the only target says no throughout": Case(
        ("a.mp4",), ("wrong",),
        (REFUSED, ("Task failed: nothing was sent to any target: rtmp://.*: refused.*", "1")), "failed", ("failed",),
    ),
    "one of two targets says no": Case(
        ("a.mp4",), ("x", "wrong"),
        (REFUSED, ("Start pushing!", "0"), ("Task ended, but nothing was pushed to rtmp://.*/wrong", "2")),
        "ended", ("removed", "failed"),
    ),
    "no file can be read": Case(
        ("gone.mp4",), ("x",), (SKIPPED, ("Task failed: nothing of the list can be played: .*", "1")),
        "failed", ("failed",), ("gone.mp4",),
    ),
    "one of two files cannot be read": Case(
        ("gone.mp4", "a.mp4"), ("x",), (SKIPPED, ("Start pushing!", "0"), ("Task ended!", "0")),
        "ended", ("removed",), ("gone.mp4",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("programme") / "a.mp4"
    framecode_record.encode(framecode_record.Spec(seconds=Fraction(3)), file)
    return file


@pytest.fixture(scope="module")
def peer() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def put(programme: Path, folder: Path, at: Desk) -> None:
    """Lay the programme into an account's library."""
    shelf = folder / "library" / at.account
    shelf.mkdir(parents=True)
    (shelf / "a.mp4").write_bytes(programme.read_bytes())


async def over(at: Desk) -> str:
    """Wait until a task is over and let go; gives its state."""

    async def is_so() -> str | None:
        stored, place = await at.records.get(at.key), await at.playouts.get(at.key)
        let_go = stored is not None and place is not None and not place.value.holder
        return stored.value.state if stored and let_go and stored.value.finished_ms else None

    return await eventually(is_so, 90)


async def test_the_codes_say_what_came_of_a_task(programme: Path, peer: Receiver, tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server, contextlib.ExitStack() as services:
        settings, log = settings_for(server, tmp_path), tmp_path / "restreamer.log"
        local = {"REELAY_ALLOW_NETS": "127.0.0.0/8", "REELAY_LOG_JSON": "true"}
        services.enter_context(child(settings, log, "services.restreamer", **local))
        services.enter_context(child(settings, tmp_path / "notifier.log", "services.notifier", **local))
        async with webhook_receiver() as hook, contextlib.AsyncExitStack() as stack:
            desks = {name: await stack.enter_async_context(desk(server)) for name in CASES}
            for number, (name, case) in enumerate(CASES.items()):
                at = desks[name]
                put(programme, tmp_path, at)
                urls = [peer.url(f"{key}{number}" if key == "x" else key) for key in case.keys]
                words = task(at.vault, name, src=SRC)
                told = await cdn_subscription(at.js, at.account, at.vault, hook.url(f"/{number}"), words)
                await at.send("start", spec=at.spec(*case.files, to=urls, loops=1, subscription=told))
            for number, (name, case) in enumerate(CASES.items()):
                assert await over(desks[name]) == case.state, name
                await hook.until(partial(all_told, hook, number, case), 30)
                place = await desks[name].playout()
                assert tuple(status.state for status in place.targets) == case.targets, name
            for number, (name, case) in enumerate(CASES.items()):
                look_at(name, case, told_to(hook, number))
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        for name, case in CASES.items():
            look_at_log(lines, desks[name], case)


def told_to(hook: Hook, number: int) -> list[tuple[str, str]]:
    """Return what was told, without what a busy machine adds."""
    said = [(r.json["msg"], r.json["code"]) for r in hook.to(f"/{number}")]
    return [(msg, code) for msg, code in said if not msg.startswith("the source ")]


def all_told(hook: Hook, number: int, case: Case) -> bool:
    return len(told_to(hook, number)) >= len(case.told)


def look_at(name: str, case: Case, said: list[tuple[str, str]]) -> None:
    """All of it was told, and nothing else; the end is last."""
    assert len(said) == len(case.told), (name, said)
    for text, code in case.told:
        assert any(re.fullmatch(text, msg) and code == given for msg, given in said), (name, text, said)
    assert re.fullmatch(case.told[-1][0], said[-1][0]), (name, said)


def look_at_log(lines: list[dict[str, Any]], at: Desk, case: Case) -> None:
    """Every line of a run names account and restream; a skipped file and the run's end say why."""
    own = [line for line in lines if line.get("restream") == at.restream]
    assert all(line["account"] == at.account for line in own), own
    assert {line["event"] for line in own} >= {"restream.taken", "restream.left", "restream.target.changed"}
    skipped = [line for line in own if line["event"] == "restream.file.skipped"]
    assert tuple(line["file"] for line in skipped) == case.skipped
    assert all(line["reason"] for line in skipped)
    (left,) = (line for line in own if line["event"] == "restream.left")
    assert (left["state"], bool(left["reason"]), left["closed"]) == (case.state, True, True)
    anonymous = [line for line in lines if line["event"].startswith("restream.") and "restream" not in line]
    assert anonymous == []


async def test_after_a_termination_nothing_more_is_told(programme: Path, peer: Receiver, tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server, contextlib.ExitStack() as services:
        settings = settings_for(server, tmp_path)
        local = {"REELAY_ALLOW_NETS": "127.0.0.0/8"}
        services.enter_context(child(settings, tmp_path / "log", "services.restreamer", **local))
        async with desk(server) as at:
            put(programme, tmp_path, at)
            one, two = peer.url("one"), peer.url("two")
            await at.send("start", spec=at.spec("a.mp4", to=(one, two)))
            for key in ("one", "two"):
                await asyncio.to_thread(peer.wait_pictures, key, 30)
            await at.send("stop", only=(at.target(two).target,))
            await asyncio.to_thread(peer.publications("two")[0].wait)

            async def parted() -> bool:
                return any(b["status"]["state"] == "removed" for c, b in await at.events() if c.startswith("target"))

            await eventually(parted)
            await at.send("stop")
            await at.held("")
            states = [(c, b.get("state") or b["status"]["state"]) for c, b in await at.events() if "state" in c]
            targets = [state for channel, state in states if channel == "target.state_changed"]
            assert targets.count("live") == 2
            assert targets.count("removed") == 1, "that of the target which was ended alone"
            positions = {(c, b["at_ms"]) for c, b in await at.events()}
            stopped = next(b["at_ms"] for c, b in await at.events() if c == "state_changed" and b["state"] == "stopped")
            assert max(at_ms for _, at_ms in positions) == stopped
            assert {status.state for status in (await at.playout()).targets} == {"removed"}
