"""Restreamers with real playout to a real RTMP server: what is received through stops, kills and the broker's end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from shared.messages.restreams import FLICKS
from tests.support import framecode_record
from tests.support.nats import NatsServer, nats_server
from tests.support.restream_desk import CLOCK, Desk, desk
from tests.support.restream_receiver import FEW, Receiver, in_order, receiver
from tests.support.shared_bus import child, settings_for
from tests.support.webhook_stack import eventually

RATE = 30
SECONDS = 30
LOST_OR_AGAIN = 2 * RATE


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbered pictures with B-frames, a keyframe every 2 s, and sound."""
    file = tmp_path_factory.mktemp("programme") / "programme.mp4"
    framecode_record.encode(framecode_record.Spec(seconds=Fraction(SECONDS)), file)
    return file


@pytest.fixture(scope="module")
def peer() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@dataclass
class Scene:
    """A broker with restreams, and a folder with the programme in the library."""

    server: NatsServer
    folder: Path
    source: Path

    def restreamer(self, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        settings = settings_for(self.server, self.folder)
        return child(
            settings, self.folder / f"{name}.log", "services.restreamer", REELAY_INSTANCE=name,
            REELAY_ALLOW_NETS="127.0.0.0/8",
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        async with desk(self.server) as at:
            shelf = self.folder / "library" / at.account
            shelf.mkdir(parents=True)
            (shelf / "a.mp4").write_bytes(self.source.read_bytes())
            yield at


@pytest.fixture
def scene(tmp_path: Path, programme: Path) -> Iterator[Scene]:
    with nats_server(tmp_path / "nats") as server:
        yield Scene(server, tmp_path, programme)


async def arrived(peer: Receiver, key: str, pictures: int, number: int = 0) -> None:
    await asyncio.to_thread(peer.wait_pictures, key, pictures, number)


async def test_frames_arrive_and_a_resume_goes_on_where_the_stop_was(scene: Scene, peer: Receiver) -> None:
    key, folder = "resume", scene.folder
    async with scene.desk() as at:
        with scene.restreamer("one"):
            await at.send("start", spec=at.spec("a.mp4", to=(peer.url(key),)))
            await arrived(peer, key, 2 * RATE)
            await at.send("stop")
            await at.held("")
            first = await asyncio.to_thread(peer.numbers, key, 0, folder)
            await at.send("resume")
            await arrived(peer, key, 2 * RATE, 1)
            await at.send("stop")
            await at.held("", 2)
        second = await asyncio.to_thread(peer.numbers, key, 1, folder)
        assert first[0] == 0
        assert in_order(first)
        assert in_order(second)
        print("stopped after", first[-1], "resumed at", second[0])
        assert abs(second[0] - (first[-1] + 1)) <= FEW


async def test_a_killed_restreamer_is_followed_by_another(scene: Scene, peer: Receiver) -> None:
    key, folder = "killed", scene.folder
    async with scene.desk() as at:
        with scene.restreamer("one") as one, contextlib.ExitStack() as stack:
            await at.send("start", spec=at.spec("a.mp4", to=(peer.url(key),)))
            await at.held("one")
            stack.enter_context(scene.restreamer("two"))
            await arrived(peer, key, 4 * RATE)
            one.kill()
            killed_ns = CLOCK.monotonic_ns()
            one.wait()
            await arrived(peer, key, 1, 1)
            took = (CLOCK.monotonic_ns() - killed_ns) / 1e9
            await arrived(peer, key, RATE, 1)
            assert (await at.playout()).holder == "two"
            await at.send("stop")
            await at.held("")
            assert await at.told() == [(1, "starting"), (1, "playing"), (1, "stopped")]
        first = await asyncio.to_thread(peer.numbers, key, 0, folder)
        second = await asyncio.to_thread(peer.numbers, key, 1, folder)
        print(f"after a kill: goes on after {took:.2f} s, {second[0] - first[-1] - 1} pictures left out (less: again)")
        assert in_order(first)
        assert in_order(second)
        assert abs(second[0] - (first[-1] + 1)) <= LOST_OR_AGAIN


async def test_the_broker_s_restart_is_not_seen(scene: Scene, peer: Receiver) -> None:
    key, folder = "broker", scene.folder
    async with scene.desk() as at:
        with scene.restreamer("one"), scene.restreamer("two"):
            await at.send("start", spec=at.spec("a.mp4", to=(peer.url(key),)))
            await arrived(peer, key, 2 * RATE)
            await at.state("playing")
            scene.server.kill()
            await arrived(peer, key, 4 * RATE)
            await asyncio.to_thread(scene.server.start)
            since = (await at.playout()).at_ms

            async def written() -> bool:
                return (await at.playout()).at_ms > since

            await eventually(written)
            await at.send("seek", item=0, at=20 * FLICKS)

            async def sought() -> bool:
                return (await at.playout()).cursor.at >= 21 * FLICKS

            await eventually(sought)
            await at.send("stop")
            await at.held("")
        assert len(peer.publications(key)) == 1
        numbers = await asyncio.to_thread(peer.numbers, key, 0, folder)
        jump = numbers.index(20 * RATE)
        print("sought from", numbers[jump - 1])
        assert numbers[:jump] == list(range(jump))
        assert in_order(numbers[jump:])


async def test_a_handover_goes_on_at_the_picture(scene: Scene, peer: Receiver) -> None:
    key, folder = "handover", scene.folder
    async with scene.desk() as at:
        with scene.restreamer("one") as one, contextlib.ExitStack() as stack:
            await at.send("start", spec=at.spec("a.mp4", to=(peer.url(key),)))
            await at.held("one")
            stack.enter_context(scene.restreamer("two"))
            await arrived(peer, key, 4 * RATE)
            one.terminate()
            assert await asyncio.to_thread(one.wait, 30) == 0
            await arrived(peer, key, 2 * RATE, 1)
            await at.send("stop")
            await at.held("")
        first = await asyncio.to_thread(peer.numbers, key, 0, folder)
        second = await asyncio.to_thread(peer.numbers, key, 1, folder)
        print("handed over after", first[-1], "went on at", second[0])
        assert in_order(first)
        assert in_order(second)
        assert abs(second[0] - (first[-1] + 1)) <= FEW
