"""`reelay demo`: records a live stream, clips it, delivers the clip and reports it by webhook, shown step by step."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.cli.demo_cast import Received, Receiver, encoder, receiver, running_stack
from services.cli.errors import StackError
from shared.messages.clips import ClipStateChanged, FrameAccurateReady
from shared.runtime.settings import Settings

RECORD: Final = timedelta(seconds=14)
CLIP: Final = timedelta(seconds=10)
LIMIT: Final = timedelta(minutes=1)
HOOK: Final = timedelta(seconds=20)
LOOK: Final = timedelta(milliseconds=100)


class DemoFailed(StackError):  # noqa: N818  names what happened
    """The demo did not show what it should."""


def run_demo() -> int:
    """Run the demo and return its exit code. DEMO_EXIT=1 ends it after the clip."""
    console = Console()
    try:
        with ExitStack() as stack:
            Demo(console, Settings(), stack).run()
            if os.environ.get("DEMO_EXIT") != "1":
                console.print("\nThe stack goes on recording. [bold]Ctrl-C[/] stops everything.")
                while True:
                    time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopped")
    except (StackError, httpx.HTTPError) as error:
        console.print(f"[red]The demo failed:[/] {error}", highlight=False)
        return 1
    return 0


def _told(hook: Received) -> str:
    state = hook.body["data"].get("state", "")
    return f"{hook.body['type']} ({state}), signature {'holds' if hook.signed else 'DOES NOT HOLD'}"


class Demo:
    """The steps of the demo, in order."""

    def __init__(self, console: Console, settings: Settings, stack: ExitStack) -> None:
        self.console = console
        self.settings = settings
        self.stack = stack

    def run(self) -> None:
        """Run all steps."""
        with self.console.status("Starting nats-server and nine services ..."):
            run = self.stack.enter_context(running_stack(self.settings))
        base = f"http://127.0.0.1:{run.ports['http']}"
        key = self.settings.given_admin_key or (self.settings.data_dir / "admin.key").read_text().strip()
        self.api = self.stack.enter_context(httpx.Client(base_url=base, headers={"X-API-KEY": key}, timeout=20))
        self.console.print(f"[green]Running[/] at {base} (log: {self.settings.data_dir}/demo.log)", highlight=False)
        hooks = self._hooks()
        job = self._publish("demo over RTMP", "rtmp")
        self._publish("demo over SRT", "srt")
        self._wait_recorded(job)
        self._clip(job, hooks)

    def _hooks(self) -> Receiver:
        hooks = self.stack.enter_context(receiver())
        made = self._post("/v1/webhooks", {"url": hooks.url, "events": ["clips.*"]})
        hooks.secret = made["secret"]
        self.stack.callback(self._forget, str(made["id"]))
        return hooks

    def _forget(self, endpoint: str) -> None:
        """Delete the webhook, whose receiver ends with the demo."""
        with contextlib.suppress(httpx.HTTPError):
            self.api.delete(f"/v1/webhooks/{endpoint}")

    def _publish(self, name: str, protocol: str) -> dict[str, Any]:
        job: dict[str, Any] = self._post("/v1/jobs", {"name": name})
        if protocol == "rtmp":
            url, container, size, bitrate, tone = (
                f"{job['stream_url']}/{job['stream_name']}",
                "flv",
                "1280x720",
                "3M",
                440,
            )
        else:
            url, container, size, bitrate, tone = job["srt_url"], "mpegts", "640x360", "1M", 880
        self.stack.enter_context(encoder(url, container, size=size, bitrate=bitrate, tone=tone))
        what = "passphrase and stream id" if protocol == "srt" else "stream key"
        said = f"[green]Publishing[/] {size} over {protocol.upper()} with its own {what}: job {job['id']}"
        self.console.print(said, soft_wrap=True, highlight=False)
        return job

    def _wait_recorded(self, job: dict[str, Any]) -> None:
        """Wait until both streams are live, then until enough of the first is recorded."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("Recording", total=RECORD.total_seconds())
            self._until(lambda: self._get(f"/v1/jobs/{job['id']}")["state"] == "processing", "the stream to be live")
            for _ in range(RECORD // LOOK):
                time.sleep(LOOK.total_seconds())
                progress.advance(task, LOOK.total_seconds())
        live = [j["name"] for j in self._get("/v1/jobs?page_size=50")["jobs"] if j["state"] == "processing"]
        if len(live) < 2:
            raise DemoFailed(f"only {live} is live; see {self.settings.data_dir}/demo.log")
        urls = self._post(f"/v1/jobs/{job['id']}/playback", {"expires_in": 86_400})
        hls = next(value for value in urls.values() if isinstance(value, str) and ".m3u8" in value)
        self.console.print(
            f"[green]Recorded[/] {RECORD.seconds} s and going on. Watch and rewind: [bold]{hls}[/]", soft_wrap=True
        )

    def _clip(self, job: dict[str, Any], hooks: Receiver) -> None:
        began = time.monotonic()
        label = f"last {CLIP.seconds} s"
        made = self._post(
            "/v1/vods", {"live_job_id": job["id"], "outputs": [{"label": label, "duration": CLIP.seconds}]}
        )
        clip = made["vod_jobs"][0]["jvod_id"]
        media = f"/v1/vods/{clip}/media.mp4"
        self._until(
            lambda: self.api.head(media).status_code == 200,
            "the segment-accurate file",
            pause=timedelta(milliseconds=10),
        )
        fast = timedelta(seconds=time.monotonic() - began)
        self._until(
            lambda: self._clip_is(clip, "accuracy", "frame"),
            "the frame-accurate file",
            pause=timedelta(milliseconds=20),
        )
        exact = timedelta(seconds=time.monotonic() - began)
        self._until(lambda: self._clip_is(clip, "jvod_state", "finished"), "the delivery")
        for kind, state in ((FrameAccurateReady.channel, None), (ClipStateChanged.channel, "finished")):
            hook = hooks.wait(kind, HOOK, state)
            if hook is None or not hook.signed:
                raise DemoFailed(f"the webhook {kind} did not come, or its signature does not hold")
        self._show(self._get(f"/v1/vods/{clip}"), fast, exact, hooks)

    def _show(self, vod: dict[str, Any], fast: timedelta, exact: timedelta, hooks: Receiver) -> None:
        file = self.settings.data_dir / str(vod["location"])
        if not file.is_file():
            raise DemoFailed(f"{file} is not there")
        table = Table(title=f"Clip of the last {CLIP.seconds} s", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("segment-accurate file after", f"{fast / timedelta(milliseconds=1):.0f} ms")
        table.add_row("frame-accurate file after", f"{exact / timedelta(milliseconds=1):.0f} ms ({vod['method']})")
        table.add_row("frames", f"{vod['made']['frames']}, {vod['jvod_reported_duration_s']} s, {vod['bytes']:,} bytes")
        table.add_row("sha256", str(vod["sha256"]))
        table.add_row("webhooks received", "\n".join(map(_told, hooks.received)))
        self.console.print(table)
        self.console.print(
            f"Download, with the API key: {vod['jvod_url']}\nFile: {file}", soft_wrap=True, highlight=False
        )

    def _clip_is(self, clip: str, field: str, value: str) -> bool:
        vod = self._get(f"/v1/vods/{clip}")
        if vod["jvod_state"] in {"failed", "error"}:
            raise DemoFailed(f"the clip failed: {vod['error']}")
        return bool(vod[field] == value)

    def _until(self, done: Callable[[], bool], what: str, pause: timedelta = LOOK) -> None:
        until = time.monotonic() + LIMIT.total_seconds()
        while not done():
            if time.monotonic() > until:
                raise DemoFailed(
                    f"waited {LIMIT.total_seconds():.0f} s for {what}; see {self.settings.data_dir}/demo.log"
                )
            time.sleep(pause.total_seconds())

    def _get(self, path: str) -> Any:
        return self.api.get(path).raise_for_status().json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self.api.post(path, json=body).raise_for_status().json()
