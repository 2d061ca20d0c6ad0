"""What a holder says while the broker is away."""

from __future__ import annotations

from typing import Any

from services.restreamer import telling
from services.restreamer.playout import Warned
from services.restreamer.telling import MOST_WAITING, Telling
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.messages.restreams import Item, RestreamRecord, RestreamSpec, Source, Target

RECORD = RestreamRecord(
    account="main", restream="4" * 32, state="playing", created_ms=1, changed_ms=1,
    spec=RestreamSpec(
        items=(Item(source=Source(kind="library", place="a", shown="a")),),
        targets=(Target(target="a" * 16, url="rtmp://x/y", shown="rtmp://x/y"),),
    ),
)  # fmt: skip


class Outbox:
    """One that is away at first."""

    away = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def emit(self, event: Any) -> int:
        if self.away:
            raise Unavailable("away")
        self.sent.append(event.text)
        return 1


async def test_what_must_be_done_is_done_after_as_many_events_as_there_is_room_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(telling, "AGAIN_S", 0.01)
    outbox, done = Outbox(), []
    said = Telling(outbox, SystemClock(), 0)  # type: ignore[arg-type]  # as far as it is used

    async def end() -> None:
        done.append(len(outbox.sent))

    async with said.running():
        for number in range(MOST_WAITING + 100):
            said.warned(RECORD, Warned(str(number)))
        said.add(end)
        assert not await said.finished(0.05)
        outbox.away = False
        assert await said.finished(20)
    assert outbox.sent == [str(number) for number in range(MOST_WAITING)]
    assert done == [MOST_WAITING]
