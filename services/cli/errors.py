"""Errors of the stack on this machine."""

from __future__ import annotations

from shared.errors import ReelayError


class StackError(ReelayError):
    """The stack cannot start or cannot be found; the message is for the person at the terminal."""
