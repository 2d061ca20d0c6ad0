"""The events and schedules that follow from a restream's record. Pure."""

from __future__ import annotations

import hashlib

from services.restreamer.decide import ACTIVE, BEFORE
from shared.messages.restream_commands import Begin, Finish, RestreamCommand
from shared.messages.restreams import RestreamRecord, RestreamStateChanged, RestreamWarned, StateNews


def event_of(record: RestreamRecord, news: StateNews) -> RestreamStateChanged:
    """Return the event about a state of the record's run."""
    named = () if news.state in ACTIVE else tuple(target.target for target in record.spec.targets)
    return RestreamStateChanged(
        account=record.account, restream=record.restream, run=record.run, number=news.number, at_ms=news.at_ms,
        subscription=record.spec.subscription, output=record.spec.output, name=record.spec.name, state=news.state,
        reason=news.reason, targets=record.spec.targets,
        missed=tuple(name for name in named if name not in record.reached),
        broken=tuple(name for name in named if name in record.broken),
    )  # fmt: skip


def refusal_of(record: RestreamRecord, command: RestreamCommand, why: str) -> RestreamWarned | None:
    """Return the event about a command that changed nothing; None when no client needs it."""
    if why == BEFORE or isinstance(command.order, Begin | Finish):
        return None
    return RestreamWarned(
        account=record.account, restream=record.restream, run=record.run, number=command.at_ms, at_ms=command.at_ms,
        subscription=command.subscription, output=record.spec.output,
        text=f"The command {command.verb} changed nothing: {why}",
        refused=command.command, targets=record.spec.targets,
    )  # fmt: skip


def clock_commands(record: RestreamRecord) -> dict[str, RestreamCommand | None]:
    """Return the restream's two schedules by name, with the command that each carries; None: no schedule."""
    spec, scheduled = record.spec, record.state == "scheduled"
    begin = _clocked(record, Begin(run=record.run), spec.start_ms) if scheduled and spec.start_ms else None
    finish = _clocked(record, Finish(run=record.run), spec.end_ms) if record.state in ACTIVE and spec.end_ms else None
    return {f"restream-begin-{record.restream}": begin, f"restream-finish-{record.restream}": finish}


def _clocked(record: RestreamRecord, order: Begin | Finish, at_ms: int) -> RestreamCommand:
    words = f"{record.account} {record.restream} {record.run} {order.verb} {at_ms}"
    command = hashlib.sha256(words.encode()).hexdigest()[:32]
    return RestreamCommand(account=record.account, restream=record.restream, command=command, at_ms=at_ms, order=order)
