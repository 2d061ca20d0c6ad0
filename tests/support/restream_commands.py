"""Records of restreams, and commands that are applied to them as a restreamer applies them."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from services.restreamer.decide import apply, playing
from shared.messages.restream_commands import RestreamCommand, Verb
from shared.messages.restreams import (
    Item,
    RestreamRecord,
    RestreamSpec,
    Source,
    Target,
    TargetState,
    TargetStatus,
)
from shared.messages.subscriptions import Subscription
from tests.support.restream_orders import order_of

NOW = 1_800_000_000_000
MINUTE = 60_000
RESTREAM = "4" * 32
numbers = itertools.count(1)


def target(name: str) -> Target:
    shown = f"rtmp://127.0.0.1/live/{name}"
    return Target(target=hashlib.sha256(name.encode()).hexdigest()[:16], url=f"sealed:{name}", shown=shown)


A, B, C = target("a"), target("b"), target("c")


def subscription(url: str = "sealed:there", context: str = "a", form: str = "anyone_s") -> Subscription:
    """Subscribe somebody in a form that the restreamer knows as little of as of any."""
    return Subscription(form=form, url=url, context=f"{RESTREAM}.{context * 16}")


def item(name: str) -> Item:
    return Item(source=Source(kind="url", location=f"http://127.0.0.1/{name}", shown=name))


def spec(*names: str, **fields: Any) -> RestreamSpec:
    return RestreamSpec(**{"items": [item(n) for n in names or ("one", "two")], "targets": (A, B), **fields})


def command(verb: Verb, now: int = NOW, **fields: Any) -> RestreamCommand:
    return RestreamCommand(
        account="main",
        restream=RESTREAM,
        command=f"{next(numbers):032x}",
        at_ms=now,
        order=order_of(verb, **fields),
    )


def made(record: RestreamRecord | None, verb: Verb, now: int = NOW, **fields: Any) -> RestreamRecord:
    """Apply a command that must change something; twice, of which the second time changes nothing."""
    wish = command(verb, now, **fields)
    outcome = apply(record, wish, now)
    assert isinstance(outcome, RestreamRecord), outcome
    assert isinstance(apply(outcome, wish, now + 1), str)
    return RestreamRecord.model_validate_json(outcome.model_dump_json())


def refused(record: RestreamRecord | None, verb: Verb, now: int = NOW, **fields: Any) -> str:
    outcome = apply(record, command(verb, now, **fields), now)
    assert isinstance(outcome, str)
    return outcome


def started(**fields: Any) -> RestreamRecord:
    record = playing(made(None, "start", spec=spec(**fields)), 1, NOW + 500)
    assert record is not None
    return record


def states(record: RestreamRecord) -> list[tuple[int, str]]:
    return [(record.run, news.state) for news in record.untold]


def status(target: Target, state: TargetState) -> TargetStatus:
    return TargetStatus(target=target.target, shown=target.shown, state=state, since_ms=1)
