"""Helpers of `compose-check`: an encoder that reconnects, and a list of steps with their times."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Self

import imageio_ffmpeg

CONTAINERS = {"rtmp": "flv", "srt": "mpegts"}
STEADY_S = 8.0


class Steps:
    """The steps of a run, with their durations and results."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, str]] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what the block appends to the list is its result."""
        said: list[str] = []
        began = time.monotonic()
        print(f"... {name}", flush=True)
        try:
            yield said
        except BaseException:
            said.append("FAILED")
            raise
        finally:
            self._rows.append((name, time.monotonic() - began, ", ".join(said)))

    def table(self) -> str:
        """Return all steps as a table, one line each."""
        wide = max((len(name) for name, _, _ in self._rows), default=0)
        return "\n".join(f"{name:{wide}}  {took:7.1f} s  {said}".rstrip() for name, took, said in self._rows)


class Encoder:
    """An ffmpeg that publishes a test picture in real time, and is restarted when it is cut off."""

    def __init__(self, url: str) -> None:
        self._command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-re",
            "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30",
            "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
            "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "1M", "-pix_fmt", "yuv420p", "-g", "60",
            "-c:a", "aac", "-b:a", "96k", "-f", CONTAINERS[url.partition(":")[0]], url,
        ]  # fmt: skip
        self.starts = 0
        self._since = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def steady(self, after: float) -> bool:
        """Return whether it has run for STEADY_S since `after`: an SRT caller takes 5 s to notice a loss."""
        return time.monotonic() - max(self._since, after) >= STEADY_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.starts += 1
            self._since = time.monotonic()
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(self._command, stdin=quiet, stdout=quiet, stderr=quiet)
            while process.poll() is None and not self._stop.wait(0.2):
                pass
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            self._stop.wait(0.5)
