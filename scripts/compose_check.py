"""Builds the images of compose/, runs the stack, records and clips, loses instances, records and clips, takes it down.

Exit codes: 0 all of it worked, 1 something did not, 2 nothing here runs containers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from compose_cast import STEADY_S, Encoder, Steps
from compose_engine import ROOT, CheckFailed, MissingEngine, Stack, find_engine

IMAGES = "localhost/reelay-check"
SERVICES = (
    "gateway", "scheduler", "ingester", "proxy-encoder", "archiver", "clipper", "exporter", "restreamer", "notifier",
)  # fmt: skip
SCALED = ("gateway", "ingester", "clipper")
CLIP_S = 5
LIMIT_S = 120.0
PORTS = {"HTTP": socket.SOCK_STREAM, "RTMP": socket.SOCK_STREAM, "SRT": socket.SOCK_DGRAM}
SCOPES = ["jobs:write", "vods:write"]


class Check:
    """The steps of the check, in order."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self.asked = asked
        self.folder = folder
        self.steps = Steps()
        self.ports = {name: free_port(kind) for name, kind in PORTS.items()}
        engine = find_engine(asked.engine)
        self.stack = Stack(engine, self._environment(), folder / "log")
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['HTTP']}", timeout=20)
        self.options = [*shlex.split(asked.build_options), "--build-arg", f"BASE_IMAGE={asked.base}"]
        print(f"engine: {engine.program}; base image: {asked.base}; log: {folder}/log", flush=True)

    def _environment(self) -> dict[str, str]:
        """Return the stack's environment: passwords made as an operator would, free ports and images."""
        made = subprocess.run([ROOT / "compose/make-passwords"], capture_output=True, text=True, check=True).stdout
        passwords = dict(line.split("=", 1) for line in made.split())
        self.admin = passwords["REELAY_ADMIN_KEY"]
        ports = {f"REELAY_{name}_PORT": str(port) for name, port in self.ports.items()}
        images = {"REELAY_IMAGES": IMAGES, "BASE_IMAGE": self.asked.base}
        for name in ("nats", "haproxy", "nginx"):
            if given := getattr(self.asked, name):
                images[f"{name.upper()}_IMAGE"] = f"{IMAGES}/{name}" if given == "build" else given
        here = {"REELAY_PUBLIC_URL": f"http://127.0.0.1:{self.ports['HTTP']}"}
        return passwords | ports | images | here

    def run(self) -> None:
        """Run all steps; CheckFailed or httpx.HTTPError when one fails."""
        if not self.asked.no_build:
            self._build()
        one = dict.fromkeys(SCALED, 1)
        try:
            with self.steps.step("up, until all services are ready") as said:
                self.stack.up()
                said.append(self._ready(one))
            with self.steps.step("make a key") as said:
                said.append(self._make_key())
            for protocol in ("RTMP", "SRT"):
                job = self._make_job(f"{protocol}, before")
                with Encoder(self._address(job, protocol)) as encoder:
                    self._record_and_clip(job, encoder, protocol)
            two = dict.fromkeys(SCALED, 2)
            with self.steps.step(f"scale {', '.join(SCALED)} to two") as said:
                for name, count in two.items():
                    self.stack.scale(name, count)
                said.append(self._ready(two))
            jobs = {protocol: self._make_job(f"{protocol}, after") for protocol in ("RTMP", "SRT")}
            with contextlib.ExitStack() as live:
                encoders = {p: live.enter_context(Encoder(self._address(job, p))) for p, job in jobs.items()}
                for protocol, job in jobs.items():
                    self._until(lambda job=job: self._state(job) == "processing", f"{protocol} to be live again")
                self._kill_one_of_each()
                self._go_on(encoders)
                for protocol, job in jobs.items():
                    self._record_and_clip(job, encoders[protocol], protocol)
        finally:
            with self.steps.step("down, with volumes"):
                self.stack.down()

    def _build(self) -> None:
        for name in ("nats", "haproxy", "nginx"):
            if getattr(self.asked, name) == "build":
                with self.steps.step(f"build {name} on the base image"):
                    self._build_other(name)
        with self.steps.step("build the services' images"):
            for name in SERVICES:
                options = [*self.options, "--build-arg", f"SERVICE={name}"]
                self.stack.build(f"{IMAGES}/{name}", ROOT / "compose/Dockerfile", ROOT, options)

    def _build_other(self, name: str) -> None:
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        shutil.copy2(Path(sys.executable).with_name("nats-server").resolve(), context)
        options = [*self.options, "--target", name]
        self.stack.build(f"{IMAGES}/{name}", ROOT / "compose/check/Dockerfile", context, options)

    def _ready(self, counts: dict[str, int]) -> str:
        """Wait until as many containers of each service as asked are healthy, and the gateway answers."""
        wanted = dict.fromkeys(SERVICES, 1) | counts

        def healthy() -> bool:
            for name, count in wanted.items():
                found = self.stack.containers(name)
                if len(found) != count or not all(map(self.stack.healthy, found)):
                    self.waiting = f"{name}: {len(found)} of {count} run, not all of them healthy"
                    return False
            return True

        self._until(healthy, "all services to be healthy", pause=1.0)
        self._until(lambda: self._status("/v1/jobs") in {200, 401}, "the gateway to answer")
        return f"{sum(wanted.values())} containers healthy"

    def _make_key(self) -> str:
        made = self._post("/v1/keys", {"scopes": SCOPES, "label": "compose-check"}, {"X-API-KEY": self.admin})
        self.api.headers["X-API-KEY"] = made["key"]
        return f"scopes {', '.join(made['scopes'])}"

    def _make_job(self, name: str) -> dict[str, Any]:
        job: dict[str, Any] = self._post("/v1/jobs", {"name": f"compose-check {name}"})
        return job

    def _address(self, job: dict[str, Any], protocol: str) -> str:
        return str(job["srt_url"] if protocol == "SRT" else f"{job['stream_url']}/{job['stream_name']}")

    def _record_and_clip(self, job: dict[str, Any], encoder: Encoder, protocol: str) -> None:
        with self.steps.step(f"record {CLIP_S + 3} s of {protocol}") as said:
            self._until(lambda: self._state(job) == "processing", "the stream to be live")
            starts = encoder.starts
            time.sleep(CLIP_S + 3)  # the stream runs in real time
            self._until(lambda: self._state(job) == "processing", "the stream to be live")
            said += ["without a break", *(f"from {peer}" for peer in self._peers(job))]
            if encoder.starts != starts:
                raise CheckFailed("the encoder was cut off while it was recorded")
        with self.steps.step(f"cut its last {CLIP_S} s") as said:
            outputs = [{"label": "last", "duration": CLIP_S}]
            made = self._post("/v1/vods", {"live_job_id": job["id"], "outputs": outputs})
            clip = made["vod_jobs"][0]["jvod_id"]
            self._until(lambda: self._finished(clip), "the clip to be finished")
            vod = self._get(f"/v1/vods/{clip}")
            got = len(self.api.get(f"/v1/vods/{clip}/media.mp4").raise_for_status().content)
            if got != vod["bytes"] or vod["made"]["frames"] != CLIP_S * 30:
                raise CheckFailed(f"the clip has {vod['made']['frames']} frames and {got} of {vod['bytes']} bytes")
            said.append(f"{vod['made']['frames']} frames, {got:,} bytes, {vod['method']}")

    def _kill_one_of_each(self) -> None:
        with self.steps.step(f"kill one {', one '.join(SCALED)}") as said:
            for name in SCALED:
                first, second = self.stack.containers(name)
                self.stack.kill(first)
                self._until(lambda name=name: len(self.stack.containers(name)) == 1, f"{name} to be gone")
                said.append(f"{name} {first[:6]} gone, {second[:6]} left")

    def _go_on(self, encoders: dict[str, Encoder]) -> None:
        """Wait until the encoders that were cut off publish to another instance."""
        with self.steps.step(f"encoders go on, steadily for {STEADY_S:.0f} s") as said:
            before = {protocol: encoder.starts for protocol, encoder in encoders.items()}
            killed = time.monotonic()
            for protocol, encoder in encoders.items():
                self._until(lambda encoder=encoder: encoder.steady(killed), f"the {protocol} encoder to go on")
                tries = encoder.starts - before[protocol]
                said.append(f"{protocol} {f'called {tries} times' if tries else 'was not cut off'}")

    def _finished(self, clip: str) -> bool:
        vod = self._get(f"/v1/vods/{clip}")
        if vod["jvod_state"] in {"failed", "error"}:
            raise CheckFailed(f"the clip failed: {vod['error']}")
        return bool(vod["jvod_state"] == "finished")

    def _peers(self, job: dict[str, Any]) -> list[str]:
        """Return the publishers' addresses as the ingester sees them: behind HAProxy, the encoder's."""
        return [str(publisher["peer"]) for publisher in self._get(f"/v1/jobs/{job['id']}")["publishers"]]

    def _state(self, job: dict[str, Any]) -> str:
        return str(self._get(f"/v1/jobs/{job['id']}")["state"])

    def _status(self, path: str) -> int:
        try:
            return self.api.get(path).status_code
        except httpx.HTTPError:
            return 0

    def _get(self, path: str) -> Any:
        return self._again(lambda: self.api.get(path))

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        return self._again(lambda: self.api.post(path, json=body, headers=headers))

    def _again(self, ask: Callable[[], httpx.Response]) -> Any:
        """Send a request up to five times: those in a gateway that is killed are lost."""
        for left in range(4, -1, -1):
            with contextlib.suppress(*((httpx.TransportError,) if left else ())):
                answer = ask()
                if answer.status_code < 500 or not left:
                    return answer.raise_for_status().json()
            time.sleep(0.5)
        raise CheckFailed("no answer")

    waiting = ""

    def _until(self, done: Callable[[], bool], what: str, pause: float = 0.2) -> None:
        until = time.monotonic() + LIMIT_S
        while not done():
            if time.monotonic() > until:
                raise CheckFailed(f"waited {LIMIT_S:.0f} s for {what} {self.waiting}".rstrip())
            time.sleep(pause)


def free_port(kind: socket.SocketKind) -> int:
    """Return a port that is free now."""
    with socket.socket(type=kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="compose-check", description=__doc__)
    parser.add_argument("--base", default="python:3.11-slim-bookworm", help="base image: Debian with Python and pip")
    for name in ("nats", "haproxy", "nginx"):
        parser.add_argument(
            f"--{name}", default="", help="image, or `build`: made on the base image; default as compose.yaml"
        )
    parser.add_argument("--engine", default="", choices=["", "docker", "podman"], help="default: whichever answers")
    parser.add_argument("--no-build", action="store_true", help="take the images of the last run")
    parser.add_argument("--build-options", default="", metavar="OPTIONS", help="more options for the engine's build")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the check and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    folder = Path(tempfile.mkdtemp(prefix="compose-check-"))
    try:
        check = Check(parse(arguments), folder)
    except MissingEngine as missing:
        folder.rmdir()
        print(f"compose-check: {missing}", file=sys.stderr)
        return 2
    code = 1
    try:
        check.run()
        code = 0
    except KeyboardInterrupt:
        print("compose-check: interrupted", file=sys.stderr)
        code = 130
    except (CheckFailed, httpx.HTTPError) as error:
        print(f"compose-check: {error}", file=sys.stderr)
    finally:
        print(check.steps.table())
    if code == 0:
        shutil.rmtree(folder)
    print("compose-check: all of it worked" if code == 0 else f"compose-check: failed; {folder}/log says more")
    return code


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
