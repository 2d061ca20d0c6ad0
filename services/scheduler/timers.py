"""Which timers a live event has, computed from its sessions. Pure, and independent of the order of messages."""

from __future__ import annotations

from typing import Final

from shared.messages.jobs import JobRecord
from shared.messages.live import LiveFinish
from shared.messages.schedules import EventTimers, SessionSpan, Timer
from shared.runtime.clock import TOLERATED_MS

KEPT_SESSIONS: Final = 32


def by_the_broker(at_ms: int, taken_ms: int) -> int:
    """Return an event's time, or when the broker stored it if the two are more than a second apart.

    Then the publisher's clock is off, or the broker was away; a timer that counts from there must not fire at once.
    """
    return at_ms if abs(at_ms - taken_ms) <= TOLERATED_MS else taken_ms


def reconnect_name(event: str) -> str:
    """Return the name of the timer that ends an event whose encoder does not reconnect."""
    return f"reconnect-{event}"


def length_name(event: str) -> str:
    """Return the name of the timer that ends an event at its full length."""
    return f"length-{event}"


def names(event: str) -> tuple[str, ...]:
    """Return the names of all timers that an event can have."""
    return reconnect_name(event), length_name(event)


def started(timers: EventTimers, session: str, at_ms: int, resumed: int = 0) -> EventTimers | None:
    """Record that a session has started or was resumed; None when that is known."""
    first = at_ms if timers.first_ms is None else min(timers.first_ms, at_ms)
    merged = _merged(timers, SessionSpan(session=session, started_ms=at_ms, resumed=resumed))
    new = (merged or timers).model_copy(update={"first_ms": first})
    return None if new == timers else new


def ended(timers: EventTimers, session: str, at_ms: int, resumed: int = 0) -> EventTimers | None:
    """Record that a session has ended; None when that is known."""
    return _merged(timers, SessionSpan(session=session, ended_ms=at_ms, resumed=resumed))


def wanted(timers: EventTimers, job: JobRecord) -> tuple[Timer, ...]:
    """Return the timers that must be set: `reconnect_time` after the last session, `event_length` after the first.

    Of a static entry point, those of this activation. An event that has ended has none; while a session is live there
    is no reconnect timer.
    """
    if job.ended or job.is_inactive:
        return ()
    found = []
    since_ms, first_ms = (job.entry.activated_ms, job.entry.first_ms) if job.entry else (0, timers.first_ms)
    sessions = [span for span in timers.sessions if span.ended_ms is None or span.ended_ms >= since_ms]
    over = [span for span in sessions if span.ended_ms is not None]
    if over and len(over) == len(sessions):
        last = max(over, key=lambda span: span.ended_ms or 0)
        at_ms = (last.ended_ms or 0) + job.reconnect_time_s * 1000
        finish = LiveFinish(
            account=job.account, event=job.event, session=last.session, reason="reconnect_time", at_ms=at_ms,
            resumed=last.resumed,
        )  # fmt: skip
        found.append(_timer(reconnect_name(job.event), finish))
    if job.event_length_s and first_ms is not None:
        at_ms = first_ms + job.event_length_s * 1000
        finish = LiveFinish(account=job.account, event=job.event, reason="event_length", at_ms=at_ms)
        found.append(_timer(length_name(job.event), finish))
    return tuple(found)


def _timer(name: str, finish: LiveFinish) -> Timer:
    return Timer(name=name, at_ms=finish.at_ms, target=finish.channel, body=finish.model_dump(mode="json"))


def _merged(timers: EventTimers, news: SessionSpan) -> EventTimers | None:
    known = {span.session: span for span in timers.sessions}
    old = known.get(news.session)
    if old is None and (news.started_ms or news.ended_ms or 0) <= timers.forgotten_ms:
        return None  # a late copy of a message about a session that ended long ago
    span = news if old is None else _joined(old, news)
    if span == old:
        return None
    return _bounded(timers, {**known, news.session: span})


def _joined(old: SessionSpan, news: SessionSpan) -> SessionSpan:
    """Merge what is known of a session; the first value of each time stays, until the session is resumed."""
    if news.resumed != old.resumed:
        return max(old, news, key=lambda span: span.resumed)
    return SessionSpan(
        session=old.session,
        resumed=old.resumed,
        started_ms=news.started_ms if old.started_ms is None else old.started_ms,
        ended_ms=news.ended_ms if old.ended_ms is None else old.ended_ms,
    )


def _bounded(timers: EventTimers, spans: dict[str, SessionSpan]) -> EventTimers:
    """Forget the oldest sessions when there are too many, ended ones first."""
    forgotten = timers.forgotten_ms
    oldest = sorted(spans.values(), key=lambda s: (s.ended_ms is None, s.ended_ms or s.started_ms or 0))
    for span in oldest[: max(len(spans) - KEPT_SESSIONS, 0)]:
        forgotten = max(forgotten, span.started_ms or span.ended_ms or 0)
        del spans[span.session]
    return timers.model_copy(update={"sessions": tuple(spans.values()), "forgotten_ms": forgotten})
