"""RTMP receivers for benches, in their own processes: `python -m tests.bench.common_sink watch|drain FILE`.

The port is the first line of FILE. `watch` then adds a line per video message: arrival on the machine's monotonic clock
in ns, timestamp in ms, stream key. `drain` reads and drops.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from services.ingester.rtmp import Publication, RtmpLimits, RtmpServer
from tests.bench.common import running
from tests.support.stack import until

VIDEO = 9
PROMPT = RtmpLimits(part=timedelta(milliseconds=1), low_water=1)


class Arrivals(NamedTuple):
    """Video messages of one stream, in order of arrival."""

    at_ns: np.ndarray
    stamp_ms: np.ndarray

    @property
    def late_ms(self) -> np.ndarray:
        """Return how late each came, against the median of all."""
        late = self.at_ns / 1e6 - self.stamp_ms
        return late - np.median(late)

    @property
    def drift_ms_an_hour(self) -> float:
        """Return the growth of the delay per hour."""
        slope, _ = np.polyfit(self.stamp_ms, self.at_ns / 1e6 - self.stamp_ms, 1)
        return float(slope * 3_600_000)


class Forgetting:
    """Takes messages and forgets them."""

    dropped, codecs = 0, ()

    def media(self, *_: object) -> bool:
        return True

    def metadata(self, _: object) -> None: ...

    def timecode(self, *_: object) -> None: ...

    def finish(self) -> None: ...


class Watching(Forgetting):
    """Writes each video message down when it has come whole."""

    def __init__(self, key: str, out: object) -> None:
        self._key = key
        self._out = out

    def media(self, *message: object) -> bool:
        kind, stamp, payload, _ = message
        if kind == VIDEO and payload[1] == 1:  # type: ignore[index]  # a frame, no sequence header
            print(time.monotonic_ns(), stamp, self._key, file=self._out, flush=True)  # type: ignore[call-overload]
        return True


def serve(manner: str, file: Path) -> None:
    """Serve until the process is killed."""
    with file.open("w") as out:

        def take(publication: Publication[str]) -> None:
            for _ in publication.receive(Watching(publication.grant, out) if manner == "watch" else Forgetting()):
                pass

        limits = PROMPT if manner == "watch" else RtmpLimits()
        server = RtmpServer("127.0.0.1", 0, lambda request: request.stream_name, take, limits)
        server.start()
        print(server.port, file=out, flush=True)
        while True:
            time.sleep(60)


class Sink(NamedTuple):
    """A running receiver."""

    file: Path
    port: int

    def url(self, key: str) -> str:
        """Return the URL to publish to."""
        return f"rtmp://127.0.0.1:{self.port}/live/{key}"

    def lines(self, key: str) -> list[tuple[int, int]]:
        """Return what has arrived of a stream."""
        rows = [line.split() for line in self.file.read_text().splitlines()[1:]]
        return [(int(row[0]), int(row[1])) for row in rows if len(row) == 3 and row[2] == key]

    def arrivals(self, key: str) -> Arrivals:
        """Return what has arrived of a stream, as arrays."""
        rows = np.array(self.lines(key), np.float64)
        return Arrivals(rows[:, 0], rows[:, 1])


@contextlib.contextmanager
def sink(folder: Path, manner: str) -> Iterator[Sink]:
    """Run a receiver in its own process."""
    file = folder / f"{manner}-{time.monotonic_ns()}.txt"
    command = [sys.executable, "-m", "tests.bench.common_sink", manner, str(file)]
    with running([command], folder / "sinks.log"):
        until(lambda: file.exists() and file.read_text().count("\n") >= 1, "a receiver to listen")
        yield Sink(file, int(file.read_text().splitlines()[0]))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
