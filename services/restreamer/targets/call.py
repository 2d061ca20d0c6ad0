"""Connects to a target, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from services.restreamer.targets.terms import Line, TargetError

Opener = Callable[[], Line]


class Call:
    """Opens a line; the pacer polls for it. A line that is opened after `give_up` is closed."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._given_up = False
        self._line: Line | None = None
        self._error = TargetError("could not be called")
        self._thread = threading.Thread(target=self._run, name="restream-call", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def result(self) -> Line:
        """Return the line that was opened; TargetError when it was not. Only when not `running`."""
        if self._line is None:
            raise self._error
        return self._line

    def give_up(self) -> None:
        """Close the line, also one that is opened later."""
        with self._lock:
            self._given_up = True
            if self._line is not None:
                self._line.close()

    def _run(self) -> None:
        try:
            line = self._opener()
        except TargetError as error:
            self._error = error
            return
        with self._lock:
            self._line = line
            if self._given_up:
                line.close()
