"""The whole stack as a user runs it: `reelay up` in its own folder, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import psutil

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def until(condition: Callable[[], Any], what: str, limit: float = 60.0, pause: float = 0.05) -> Any:
    """Wait until `condition` returns something true, and return it."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if found := condition():
                return found
        time.sleep(pause)
    raise AssertionError(f"waited {limit} s for {what}")


@dataclass
class StackUnderTest:
    """A running stack and an API client with its admin key."""

    folder: Path
    process: subprocess.Popen[bytes]
    api: httpx.Client

    @property
    def run(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run.json").read_text()))

    def log(self) -> str:
        return (self.folder / "up.log").read_text(errors="replace")

    def pid(self, name: str) -> int:
        return int(self.run["processes"][name]["pid"])

    def kill9(self, name: str) -> int:
        """Kill a process of the stack; return its former pid."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, former: int) -> None:
        until(lambda: self.pid(name) not in {0, former}, f"{name} to be restarted")

    def job(self, **fields: Any) -> dict[str, Any]:
        return self.post("/v1/jobs", {"name": "test", **fields})

    def state(self, job: str) -> str:
        return str(self.get(f"/v1/jobs/{job}")["state"])

    def clip(self, job: str, **output: Any) -> str:
        made = self.post("/v1/vods", {"live_job_id": job, "outputs": [{"label": "clip", **output}]})
        return str(made["vod_jobs"][0]["jvod_id"])

    def finished(self, clip: str, limit: float = 60.0) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            vod = self.get(f"/v1/vods/{clip}")
            assert vod["jvod_state"] not in {"failed", "error", "cancelled"}, vod
            return vod if vod["jvod_state"] == "finished" else None

        return dict(until(ended, f"clip {clip} to finish", limit))

    def download(self, clip: str, target: Path) -> Path:
        answer = self.api.get(f"/v1/vods/{clip}/media.mp4")
        assert answer.status_code == 200, answer.text
        target.write_bytes(answer.content)
        return target

    def get(self, path: str) -> dict[str, Any]:
        return self._answer("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, body)

    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Ask as a good client does: retry a refused connection and a 503 for a while."""

        def once() -> httpx.Response | None:
            answer = self.api.request(method, path, json=body)
            return None if answer.status_code == 503 else answer

        answer = until(once, f"an answer to {method} {path}", 45, 0.25)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return dict(answer.json())


@contextlib.contextmanager
def stack(folder: Path, **environment: str) -> Iterator[StackUnderTest]:
    """Run a stack; stop it and everything it started after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "REELAY_DATA_DIR": str(folder), "REELAY_HTTP_PORT": "0", "REELAY_RTMP_PORT": "0", "REELAY_SRT_PORT": "0",
        "REELAY_NATS_PORT": "0", "REELAY_ALLOW_NETS": "127.0.0.0/8", **environment,
    }  # fmt: skip
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=os.environ | settings, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: _ready(process, folder), "the stack", 90)
        run = json.loads((folder / "run.json").read_text())
        key = (folder / "admin.key").read_text().strip()
        base = f"http://127.0.0.1:{run['ports']['http']}"
        with httpx.Client(base_url=base, headers={"X-API-KEY": key}, timeout=30) as api:
            yield StackUnderTest(folder, process, api)
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        _, alive = psutil.wait_procs(children, timeout=5)
        for child in alive:
            child.kill()


def _ready(process: subprocess.Popen[bytes], folder: Path) -> bool:
    log = (folder / "up.log").read_text(errors="replace")
    assert process.poll() is None, log[-3000:]
    return " ready: http" in log and (folder / "admin.key").exists()


@contextlib.contextmanager
def publisher(source: Path, url: str, container: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Publish a file in real time with a real ffmpeg, packets as they are."""
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-re", *options, "-i", str(source), "-c", "copy"]
    process = subprocess.Popen([*command, "-f", container, url], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
