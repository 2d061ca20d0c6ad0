"""How one kind of receiver is told: what each form says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.notifier.events import Happening

Context = Mapping[str, Any]
"""What the facade had to say once: a JSON document that its form alone reads."""
Opened = Callable[[str], str]
"""Opens what is sealed; empty when that cannot be."""


@dataclass(frozen=True, slots=True)
class Words:
    """One message: as it is posted, which is kept sealed, and as people are shown it."""

    posted: str
    shown: dict[str, Any]


class Form(Protocol):
    """A form. What a receiver is told is decided once, when the event comes; every try posts the same bytes.

    A context that is not as it must be is a ValidationError.
    """

    @property
    def brief(self) -> bool:
        """Whether a delivery is given up after few tries that reached the receiver, for the next to have its turn."""

    def applies(self, happening: Happening, context: Context) -> bool:
        """Tell whether this event is told."""

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return what is said of an event that is told."""

    def accepted(self, status: int, said: bytes) -> bool:
        """Tell whether an answer, of which the first 16 KiB are read, means that the receiver has it."""
