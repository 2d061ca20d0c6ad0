"""Outputs of live jobs: restreams that send a job on, and stop with it (ADR 31)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from pydantic import Field

from shared.messages.base import HexId, Notification, Record

OutputState = Literal["starting", "connected", "disconnected", "error", "finished"]
MOST_OUTPUTS = 32
"""Of one job."""


class OutputOf(Record):
    """The live job that a restream sends on, and who is told of it besides."""

    job: HexId
    label: str = Field("", max_length=512)
    notifications: tuple[Notification, ...] = Field((), max_length=16)


class Status(Protocol):
    """What is known of a target."""

    @property
    def state(self) -> str:
        """Its state."""


def output_state(run: str, target: Status | None, *, reached: bool) -> OutputState:
    """Return the state of an output, by the state of its run, and of its target; `reached`: media was sent to it."""
    if run in ENDS:
        return "error" if run == "failed" else "finished"
    state = target.state if target else ""
    if state == "live":
        return "connected"
    if state == "failed":
        return "disconnected" if reached else "error"
    return "disconnected" if reached and state in {"waiting", "connecting", "ready"} else "starting"


ENDS: Collection[str] = frozenset({"stopped", "ended", "failed"})
