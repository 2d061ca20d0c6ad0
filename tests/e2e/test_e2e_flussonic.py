"""DVR exports of the streamer API through the whole stack: the file at its place, and the four events at a sink."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import framecode
from tests.support.stack import StackUnderTest, publisher, stack, until

API = "/streamer/api/v3"
JOBS = f"{API}/dvr_export_jobs"
RATE = 30


@dataclass
class Sink:
    """A receiver of events, which refuses its first request."""

    port: int = 0
    refused: list[Any] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def take(self, batch: list[dict[str, Any]]) -> int:
        if not self.refused:
            self.refused += batch
            return 503
        self.events += batch
        return 200

    def of(self, export: str) -> list[str]:
        return [event["event"] for event in self.events if event["export_id"] == export]


@contextlib.contextmanager
def event_sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(sink.take(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Scene:
    """A stack, the folder that exports go to, and a sink of their events."""

    live: StackUnderTest
    exports: Path
    sink: Sink

    def put(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.live.api.put(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def export(self, name: str, start_ms: int, duration_ms: int, path: str) -> str:
        ident = str(uuid.uuid4())
        made = self.put(f"{JOBS}/{ident}", {"name": name, "from": start_ms, "duration": duration_ms, "path": path})
        assert (made["id"], made["status"]) == (ident, "running")
        return ident

    def ended(self, ident: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.live.get(f"{JOBS}/{ident}")
            return job if job["status"] != "running" else None

        return dict(until(look, f"export {ident} to end", 90))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    exports = folder / "exports"
    (exports / "main").mkdir(parents=True)
    environment = {"REELAY_EXPORT_DIR": str(exports), "REELAY_ALLOW_NETS": "127.0.0.0/8"}
    with event_sink() as sink, stack(folder / "stack", **environment) as live:
        yield Scene(live, exports, sink)


@dataclass
class Exports:
    """What became of three exports of a stream whose recording began at `start_ms`."""

    start_ms: int
    good: dict[str, Any]
    bad: dict[str, Any]
    coming: dict[str, Any]


def exported(scene: Scene, programme: Path, name: str) -> Exports:
    """Record, and export while the stream goes on: to a folder, to where none can be, and what is to come."""
    live, sink = scene.live, scene.sink
    made = scene.put(f"{API}/streams/{name}", {"title": "Final"})
    with publisher(programme, f"{made['reelay']['stream_url']}/{made['reelay']['stream_name']}", "flv"):

        def recorded() -> Any:
            ranges = live.get(f"{API}/streams/{name}/dvr/ranges")["ranges"]
            return ranges[0] if ranges and ranges[0]["closed_at"] - ranges[0]["opened_at"] >= 8000 else None

        start = until(recorded, "8 s of the recording")["opened_at"]
        (scene.exports / "main" / "blocked").write_text("a file where a folder is wanted")
        good = scene.export(name, start + 1000, 5000, "cup/final.mp4")
        bad = scene.export(name, start + 1000, 2000, "blocked/final.mp4")
        coming = scene.export(name, start + 3_600_000, 5000, "cup/later.mp4")
        done, failed = scene.ended(good), scene.ended(bad)
        until(lambda: "dvr_mp4_export_ready" in sink.of(good), "the event of the good export")
        answer = live.api.get(f"/{name}/preview.jpg")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert live.api.delete(f"{JOBS}/{coming}").status_code == 204
    cancelled = scene.ended(coming)
    until(lambda: "dvr_mp4_export_aborted" in sink.of(coming), "the event of the cancelled export")
    until(lambda: "dvr_mp4_export_failed" in sink.of(bad), "the event of the failed export")
    return Exports(start, done, failed, cancelled)


def check_file(scene: Scene, export: dict[str, Any], file: Path, folder: Path) -> None:
    """Check that a file is the export's clip, picture by picture."""
    assert (export["status"], export["reelay"]["sent_bytes"]) == ("succeeded", export["reelay"]["bytes"])
    assert file.read_bytes() == scene.live.download(export["reelay"]["clip"], folder / "clip.mp4").read_bytes()
    seen = framecode.play(file)
    assert seen.warnings == ""
    assert seen.numbers == list(range(seen.numbers[0], seen.numbers[0] + 5 * RATE))
    assert abs(seen.numbers[0] - RATE) <= 1  # a second into the recording, whose clock is rounded to ms


def test_exports_are_told_and_their_files_are_there(scene: Scene, programme: Path, tmp_path: Path) -> None:
    sink, name = scene.sink, "cup/final"
    scene.put(f"{API}/event_sinks/all", {"url": sink.url, "only": [{"event": ["dvr_*"], "media": ["cup/*"]}]})
    made = exported(scene, programme, name)
    file = scene.exports / "main" / "cup" / "final.mp4"
    check_file(scene, made.good, file, tmp_path)
    assert (made.bad["status"], made.coming["status"]) == ("failed", "canceled")
    assert made.bad["error"]
    assert sorted(path.name for path in (scene.exports / "main").rglob("*.*")) == ["final.mp4"]
    assert sink.of(made.good["id"]) == ["dvr_mp4_export_start", "dvr_mp4_export_ready"]
    assert sink.of(made.bad["id"]) == ["dvr_mp4_export_start", "dvr_mp4_export_failed"]
    assert sink.of(made.coming["id"]) == ["dvr_mp4_export_aborted"]
    assert sink.refused[0] == sink.events[0], "what was refused came again, before all others"
    numbers = [event["event_id"] for event in sink.events]
    assert numbers == sorted(set(numbers))
    ready = next(event for event in sink.events if event["event"] == "dvr_mp4_export_ready")
    assert {key: ready[key] for key in ("media", "from", "duration", "path", "size")} == {
        "media": name, "from": made.start_ms + 1000, "duration": 5000, "path": "cup/final.mp4",
        "size": file.stat().st_size,
    }  # fmt: skip
    assert next(event for event in sink.events if event["event"] == "dvr_mp4_export_failed")["reason"]
