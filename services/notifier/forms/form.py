"""The interface of a form: how messages to one kind of receiver are made, and which answers accept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.notifier.events import Happening

Context = Mapping[str, Any]
"""A JSON document that the facade stored once and only its form reads."""
Opened = Callable[[str], str]
"""Decrypts a sealed text; empty when that fails."""


@dataclass(frozen=True, slots=True)
class Words:
    """One message: as it is posted (stored sealed), and as it is shown to people."""

    posted: str
    shown: dict[str, Any]


class Form(Protocol):
    """A form. A message is made once, when the event comes; every try posts the same bytes.

    Methods raise ValidationError for a malformed context.
    """

    @property
    def brief(self) -> bool:
        """Whether a delivery is given up after few tries that reached the receiver, so that the next has its turn."""

    @property
    def one_lane(self) -> bool:
        """Whether a receiver gets one message at a time, whatever it is about."""

    def applies(self, happening: Happening, context: Context) -> bool:
        """Return whether this event is sent."""

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return the message about an event."""

    def accepted(self, status: int, said: bytes) -> bool:
        """Return whether an answer, of which `said` has the first 16 KiB, means that the receiver has the message."""
