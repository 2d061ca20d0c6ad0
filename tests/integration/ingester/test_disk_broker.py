"""The supervised broker on a disk that fills up: it takes messages again by itself, and has lost none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from services.cli.datadir import RunFile, read_run_file
from shared.broker.streams import DEADLETTERS
from tests.support.disk import MIB, small_disk
from tests.support.recordings import connected, until
from tests.support.waiting import wait_until

BODY = b"x" * 20_000


@contextmanager
def stack(data: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `reelay up` with one small stand-in for the services."""
    ports = {f"REELAY_{name}_PORT": "0" for name in ("HTTP", "RTMP", "SRT", "NATS")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REELAY_")}
    command = [sys.executable, "-m", "tests.support.small_stack", str(folder), "a"]
    with (folder / "output").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=clean | ports | {"REELAY_DATA_DIR": str(data)})
    try:
        wait_until(lambda: "ready: " in (folder / "output").read_text() or process.poll() is not None, 60)
        assert process.poll() is None, (folder / "output").read_text()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


async def publish(js: JetStreamContext, number: int) -> bool:
    """Publish one message; tell whether it was acknowledged."""
    try:
        await js.publish(f"deadletters.test.{number}", BODY, stream=DEADLETTERS, timeout=2)
    except NatsError:
        return False
    return True


async def test_what_was_acknowledged_on_a_full_disk_is_kept_and_more_is_taken_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path, "64m") as disk, stack(disk.root, tmp_path):
        run: RunFile = read_run_file(disk.root)
        async with connected(run.nats_url) as js:
            disk.fill(leave=MIB)
            acknowledged = 0
            while await publish(js, acknowledged):
                acknowledged += 1
            assert 0 < acknowledged < 2 * MIB // len(BODY)
            disk.fill(leave=0)
            await until(lambda: asyncio.sleep(0, "broker.write_failed" in (tmp_path / "output").read_text()))
            assert not await publish(js, 10_000)
            disk.clear()
            await until(lambda: publish(js, 20_000), 60)
            info = await js.stream_info(DEADLETTERS, subjects_filter="deadletters.test.>")
            kept = {int(subject.rsplit(".", 1)[1]) for subject in info.state.subjects or {}}
            assert kept >= set(range(acknowledged)) | {20_000}
        after = read_run_file(disk.root).processes
        assert after["nats"].restarts >= 1
        assert after["a"].restarts == 0
