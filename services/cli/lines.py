"""Lines of many programs on one terminal: split, named, coloured, and written without blocking."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from services.cli.rotation import Rotation

LONGEST_LINE: Final = 16 * 1024
LONGEST_BACKLOG: Final = 4_000
CLOSING: Final = timedelta(seconds=1)
PALETTE: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
# A peer's bytes in a log line must not control the terminal, so these are removed: all of C0 but tab, and DEL.
CONTROLS: Final = bytes(c for c in range(32) if c != 9) + b"\x7f"


class LineSplitter:
    """Cuts a stream of bytes into lines of at most LONGEST_LINE bytes, without line ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield from _pieces(line)
        while len(self._rest) > LONGEST_LINE:
            yield self._rest[:LONGEST_LINE]
            self._rest = self._rest[LONGEST_LINE:]

    def flush(self) -> Iterator[bytes]:
        """Yield what is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from _pieces(rest)


def _pieces(line: bytes) -> Iterator[bytes]:
    for start in range(0, max(len(line), 1), LONGEST_LINE):
        yield line[start : start + LONGEST_LINE]


class LineStyle:
    """How a line looks: `name | line`, coloured or plain, or JSON lines left as they are."""

    def __init__(self, names: Sequence[str], *, colour: bool, json_lines: bool) -> None:
        self._width = max(map(len, names), default=0)
        self._colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)} if colour else {}
        self._json = json_lines

    def dress(self, name: str, line: bytes) -> bytes:
        """Return the line as it is written, with its line end."""
        if self._json:
            if line.startswith(b"{"):
                return line + b"\n"
            text = line.decode(errors="replace")
            return json.dumps({"service": name, "event": "process.output", "line": text}).encode() + b"\n"
        padded = name.ljust(self._width)
        if name in self._colours:
            padded = f"\x1b[{self._colours[name]}m{padded}\x1b[0m"
        return padded.encode() + b" | " + line.translate(None, CONTROLS) + b"\n"


class LineWriter:
    """Writes lines to a file descriptor on a thread of its own.

    A paused terminal, a full disk or a closed pipe never blocks the caller: lines are dropped and counted once
    LONGEST_BACKLOG of them wait.
    """

    def __init__(self, target: int, style: LineStyle, rotation: Rotation | None = None) -> None:
        self._target, self._style, self._rotation = target, style, rotation or Rotation()
        self._queue: queue.Queue[bytes | None] = queue.Queue(LONGEST_BACKLOG)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="lines", daemon=True)
        self._thread.start()

    def line(self, name: str, line: bytes) -> None:
        """Queue a line of `name` and return at once."""
        try:
            if self._dropped:
                note = f"{self._dropped} lines were dropped: the output did not take them"
                self._queue.put_nowait(self._style.dress(name, note.encode()))
                self._dropped = 0
            self._queue.put_nowait(self._style.dress(name, line))
        except queue.Full:
            self._dropped += 1

    def close(self, timeout: timedelta = CLOSING) -> None:
        """Write the waiting lines, for at most `timeout`."""
        try:
            self._queue.put(None, timeout=timeout.total_seconds())
        except queue.Full:
            return
        self._thread.join(timeout.total_seconds())

    def _write_all(self) -> None:
        """Write lines until closed; on an error (closed pipe, full disk) drop the line and go on."""
        while (line := self._queue.get()) is not None:
            rest = line
            try:
                with contextlib.suppress(OSError):  # without a rotation the file keeps growing
                    self._rotation.look(self._target)
                while rest:
                    rest = rest[os.write(self._target, rest) :]
            except OSError:
                continue
