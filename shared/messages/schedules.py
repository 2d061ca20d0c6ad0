"""Messages that the broker delivers at a set time."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from shared.messages.base import AccountId, HexId, Message, Millis, Record


class Due(Message):
    """A command that is due: the scheduler publishes it to the command's own channel."""

    channel: ClassVar[str] = "due"

    name: str = Field(pattern=r"^[a-z0-9_-]{1,100}$", description="Names the schedule; setting it again moves it")
    at_ms: Millis
    target: str = Field(max_length=64, description="Channel of the command")
    body: dict[str, Any] = Field(description="The command")

    @property
    def subject_id(self) -> str:
        """Return the schedule's name."""
        return self.name

    @property
    def dedup_id(self) -> str:
        """Return one id per schedule and time."""
        return f"due-{self.account}-{self.name}-{self.at_ms}"


class SessionSpan(Record):
    """When a session began and ended, as far as is known: the two events may come in any order."""

    session: HexId
    started_ms: Millis | None = None
    ended_ms: Millis | None = None
    resumed: int = Field(0, description="Of the newest events about it; older ones are void")


class Timer(Record):
    """A schedule that is set."""

    name: str
    at_ms: Millis
    target: str = Field(description="Channel of the command")
    body: dict[str, Any] = Field(description="The command")


class EventTimers(Record):
    """The timers of a live event: bucket `schedules`, under `<account>.<event>`; written by the scheduler alone."""

    account: AccountId
    event: HexId
    sessions: tuple[SessionSpan, ...] = Field((), max_length=64, description="The last ones")
    first_ms: Millis | None = Field(None, description="When the first session began")
    forgotten_ms: Millis = Field(0, description="Sessions that began before and are not listed have ended")
    timers: tuple[Timer, ...] = ()
