"""How commands, the clock and the holder change a restream's record. Pure; time is passed in (ADR 13).

The function of an order returns the new record, or the reason why nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, assert_never

from shared.broker.sizes import LARGEST_RECORD
from shared.messages.restream_commands import (
    Begin,
    Finish,
    Pause,
    RestreamCommand,
    Resume,
    Retarget,
    Seek,
    Skip,
    Start,
    Stop,
    Update,
)  # fmt: skip
from shared.messages.restreams import (
    MOST_TARGETS,
    Move,
    RestreamRecord,
    RestreamSpec,
    State,
    StateNews,
    Target,
    TargetId,
    TargetStatus,
)
from shared.messages.subscriptions import Subscription

RESUMABLE: Final = timedelta(hours=48)
WANTED: Final[frozenset[State]] = frozenset({"starting", "playing", "paused"})
ACTIVE: Final[frozenset[State]] = WANTED | {"scheduled"}
KEPT_COMMANDS: Final = 64
MOST_UNTOLD: Final = 8
MOST_KNOWN: Final = 256  # targets of a run, including ended and replaced ones
BEFORE: Final = "the command was applied before"
_MS: Final = timedelta(milliseconds=1)
Outcome = RestreamRecord | str


def apply(record: RestreamRecord | None, command: RestreamCommand, now_ms: int) -> Outcome:
    """Return the record after a command, or why it changes nothing.

    A start of a running restream returns a stopped record first; the caller then applies the command again to that.
    """
    if record and command.command in record.commands:
        return BEFORE
    if record and record.state in ACTIVE and isinstance(command.order, Start):
        return entered(record, "stopped", now_ms, "started anew")
    made = _made(record, command, now_ms)
    if isinstance(made, str):
        return made
    if len(made.model_dump_json()) > LARGEST_RECORD:
        return "the list is too long"
    return made.model_copy(update={"commands": (*made.commands, command.command)[-KEPT_COMMANDS:]})


def entered(record: RestreamRecord, state: State, now_ms: int, reason: str = "") -> RestreamRecord:
    """Return the record in a new state, with the event about it added to `untold`."""
    number = max(now_ms, record.number + 1)
    news = StateNews(number=number, state=state, reason=reason[:512], at_ms=now_ms)
    changes: dict[str, Any] = {"state": state, "reason": news.reason, "changed_ms": now_ms, "number": number}
    changes["untold"] = (*record.untold, news)[-MOST_UNTOLD:]
    changes["finished_ms"] = None if state in ACTIVE else now_ms
    if state == "playing" and record.started_ms is None:
        changes["started_ms"] = now_ms
    return record.model_copy(update=changes)


def playing(record: RestreamRecord | None, run: int, now_ms: int) -> RestreamRecord | None:
    """Return the record after the first picture of a run was sent; None when that is known, or the run is over."""
    if record is None or record.run != run:
        return None
    if record.state == "paused" and record.started_ms is None:  # it was paused while this report was under way
        return record.model_copy(update={"started_ms": now_ms})
    return entered(record, "playing", now_ms) if record.state == "starting" else None


def told(record: RestreamRecord | None, run: int, statuses: Sequence[TargetStatus]) -> RestreamRecord | None:
    """Return the record after a report on its targets; None when it changes nothing, or the run is over."""
    if record is None or record.run != run or record.state not in ACTIVE:
        return None
    live = {status.target for status in statuses if status.state == "live"}
    gone = {status.target for status in statuses if status.state == "removed"}
    known = tuple(name for name in record.reached if name not in gone)
    reached = (*known, *sorted(live - set(known)))[-MOST_KNOWN:]
    lost = {status.target for status in statuses if status.state in {"waiting", "failed"}}
    broken = tuple(name for name in reached if name in lost or (name in record.broken and name not in live))
    if (reached, broken) == (record.reached, record.broken):
        return None
    return record.model_copy(update={"reached": reached, "broken": broken})


def over(
    record: RestreamRecord | None, run: int, state: State, reason: str, now_ms: int, why: str = ""
) -> RestreamRecord | None:
    """Return the record after a run has ended or failed; None when it was over before.

    A run whose whole list was sent to no target has failed; `why` says what was wrong with the targets. A run that
    reached its end time has ended in any case; its event names the targets to which nothing was sent.
    """
    if record is None or record.run != run or record.state not in ACTIVE:
        return None
    if state == "ended" and not reason and not record.reached and record.started_ms is None:
        state, reason = "failed", f"nothing was sent to any target{f': {why}' if why else ''}"
    return entered(record, state, now_ms, reason)


def _made(record: RestreamRecord | None, command: RestreamCommand, now_ms: int) -> Outcome:
    order = command.order
    if isinstance(order, Start):
        return _run(record, command, _reset(order.spec, {}), now_ms, chain=None)
    if isinstance(order, Resume):
        return _resume(record, command, order, now_ms)
    if record is None:
        return "the restream is not known"
    if isinstance(order, Begin | Finish):
        return _due(record, order, command.at_ms, now_ms)
    return _changed(record, order, now_ms)


def _changed(record: RestreamRecord, order: Stop | Update | Retarget | Pause | Skip | Seek, now_ms: int) -> Outcome:
    """Apply an order to an existing run; each order checks the states that it applies to."""
    made: Outcome
    match order:
        case Stop():
            made = _stop(record, order, now_ms)
        case Update():
            made = _update(record, order, now_ms)
        case Retarget():
            made = _retarget(record, order.targets) if record.state in ACTIVE else f"it is {record.state}"
        case Pause():
            made = _pause(record, now_ms)
        case Skip():
            made = _move(record, -1, 0)
        case Seek():
            made = _move(record, order.item, order.at)
        case _ as never:
            assert_never(never)
    return made


def _run(
    record: RestreamRecord | None, command: RestreamCommand, spec: RestreamSpec, now_ms: int, chain: int | None
) -> RestreamRecord:
    """Return the record of the next run; `chain` is the first of the runs that it continues."""
    run = record.run + 1 if record else 1
    fresh = RestreamRecord(
        account=command.account, restream=command.restream, run=run, chain=chain or run, spec=spec, state="starting",
        created_ms=record.created_ms if record else command.at_ms, changed_ms=now_ms,
        commands=record.commands if record else (), number=record.number if record else 0,
    )  # fmt: skip
    return entered(fresh, "scheduled" if (spec.start_ms or 0) > now_ms else "starting", now_ms)


def _resume(record: RestreamRecord | None, command: RestreamCommand, order: Resume, now_ms: int) -> Outcome:
    """Continue where the run was stopped, within 48 h; later, or after the list ended, start from the beginning."""
    new = order.spec
    if record is None:
        return _run(None, command, _reset(new, order.reset), now_ms, chain=None) if new else "the command names no list"
    if record.state in ACTIVE:
        return _go_on(record, order, now_ms)
    old = record.spec
    end = old.end_ms if (old.end_ms or 0) > now_ms else None
    changes: dict[str, Any] = {"loops": old.loops, "first": old.first, "live": old.live, "tries": old.tries}
    changes["start_ms"] = new.start_ms if new else None
    changes["end_ms"] = (new.end_ms if new else None) or end
    changes["subscription"] = _renewed(old.subscription, new.subscription if new else None)
    spec = (new or old).model_copy(update=changes)  # a resume has no fields for these: they stay as they were
    here = record.state == "stopped" and now_ms - (record.finished_ms or 0) <= RESUMABLE // _MS
    return _run(record, command, _reset(spec, order.reset), now_ms, chain=record.chain if here else None)


def _go_on(record: RestreamRecord, order: Resume, now_ms: int) -> Outcome:
    """End a pause; add ended targets again, and replace the URLs of targets that are reset."""
    wanted = _distinct((*record.spec.targets, *(order.spec.targets if order.spec else ())))
    made = _retarget(record, _reset(record.spec.model_copy(update={"targets": wanted}), order.reset).targets)
    if record.state != "paused" or isinstance(made, str):
        return "it plays already" if isinstance(made, RestreamRecord) and made == record else made
    back: State = "starting" if record.started_ms is None else "playing"
    return entered(made.model_copy(update={"paused": False}), back, now_ms)


def _renewed(old: Subscription | None, new: Subscription | None) -> Subscription | None:
    """Return the subscription after a resume, which cannot carry all that a start carries."""
    return old.renewed(new) if old and new else new or old


def _stop(record: RestreamRecord, order: Stop, now_ms: int) -> Outcome:
    """End the restream, or some targets; it also ends when no target is left."""
    if record.state not in ACTIVE:
        return f"it is {record.state}"
    old, new = record.spec.subscription, order.subscription
    if new:  # the new receiver gets the context of the start
        subscription = old.moved(new) if old else new
        record = record.model_copy(update={"spec": record.spec.model_copy(update={"subscription": subscription})})
    left = tuple(t for t in record.spec.targets if {t.target, t.instead_of}.isdisjoint(order.only))
    if order.only and len(left) == len(record.spec.targets):
        return "it has none of these targets"
    if order.only and left:
        return _retarget(record, left)
    return entered(record, "stopped", now_ms, "stopped")


def _update(record: RestreamRecord, order: Update, now_ms: int) -> Outcome:
    """Replace the list; times, encoding, live event and subscription stay unless they are set, targets always stay."""
    if record.state not in ACTIVE:
        return f"it is {record.state}"
    changes: dict[str, Any] = {"items": order.items, "loops": order.loops, "first": order.first}
    named = {name: getattr(order, name) for name in ("start_ms", "end_ms", "encoding", "live", "subscription")}
    changes |= {name: value for name, value in named.items() if value is not None}
    spec = record.spec.model_copy(update=changes)
    made = record.model_copy(
        update={"spec": spec, "spec_number": record.spec_number + 1, "wait_current": order.wait_current}
    )
    due = record.state == "scheduled" and (spec.start_ms or 0) <= now_ms
    return entered(made, "starting", now_ms) if due else made


def _retarget(record: RestreamRecord, targets: tuple[Target, ...]) -> Outcome:
    wanted = _distinct(targets)
    if len(wanted) > MOST_TARGETS:
        return "it would have too many targets"
    return record.model_copy(update={"spec": record.spec.model_copy(update={"targets": wanted})})


def _reset(spec: RestreamSpec, reset: Mapping[TargetId, Target]) -> RestreamSpec:
    """Return the spec with another URL for each target that is reset."""
    other = {old: new.model_copy(update={"instead_of": old}) for old, new in reset.items()}
    return spec.model_copy(update={"targets": _distinct(tuple(other.get(t.target, t) for t in spec.targets))})


def _distinct(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    return tuple({t.target: t for t in targets}.values())


def _pause(record: RestreamRecord, now_ms: int) -> Outcome:
    if record.state not in {"starting", "playing"}:
        return f"it is {record.state}"
    return entered(record.model_copy(update={"paused": True}), "paused", now_ms)


def _move(record: RestreamRecord, item: int, at: int) -> Outcome:
    """Skip (item -1) or seek."""
    if record.state not in WANTED:
        return f"it is {record.state}"
    if item >= len(record.spec.items):
        return "the list has no such file"
    return record.model_copy(update={"move": Move(number=record.move.number + 1, item=item, at=at)})


def _due(record: RestreamRecord, order: Begin | Finish, due_ms: int, now_ms: int) -> Outcome:
    """Start or end a run by the clock, unless the command is for another run, or the time was moved since."""
    begins = isinstance(order, Begin)
    state, at_ms = ({"scheduled"}, record.spec.start_ms or 0) if begins else (ACTIVE, record.spec.end_ms)
    if order.run != record.run or record.state not in state or at_ms is None or due_ms < at_ms:
        return "its time has not come, or is over"
    if begins:
        return entered(record, "starting", now_ms)
    return over(record, record.run, "ended", "its time is over", now_ms) or "it is over"
