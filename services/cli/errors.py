"""What keeps the stack from running on this machine."""

from __future__ import annotations

from shared.errors import ReelayError


class StackError(ReelayError):
    """The stack cannot start or cannot be found; the message is written for the person at the terminal."""
