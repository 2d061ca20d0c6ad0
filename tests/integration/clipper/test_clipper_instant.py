"""Instant clips: a record, and no file."""

from __future__ import annotations

from pathlib import Path

from tests.support.clipper_desk import ACCOUNT, desk, serving
from tests.support.nats import NatsServer
from tests.support.shared_bus import send


async def test_an_instant_clip_is_finished_at_once_without_a_file(nats: NatsServer, tmp_path: Path) -> None:
    """Also when nothing is recorded yet, when its end lies in the future, and when its command comes twice."""
    async with desk(nats, tmp_path) as at, serving(at, "clipper"):
        order = at.order(1, 9_000, instant=True, wait=True, live=True)
        await send(at.js, order)
        await send(at.js, order.model_copy(update={"due_ms": 1}))
        ended = await at.ended(order.clip)
        assert (ended.state, ended.file, ended.error) == ("finished", None, "")
        assert ended.finished_ms
        assert await at.told(order.clip) == ["processing", "finished"]
        assert not at.store.path(f"clips/{ACCOUNT}/{order.clip}").exists()
