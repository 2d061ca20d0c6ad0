"""A segment's file that cannot be read, or is damaged, when its hour's index is rebuilt from files."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.archiver import finding
from shared.errors import Unavailable
from tests.support.archive import EACH, Archive, archive, held, recorded, there
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, new_event


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as running:
        yield running


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("reading", ["read_segment", "read_tracks", "digest"])
async def test_what_passes_loses_no_segment(
    archiver: Archive, monkeypatch: pytest.MonkeyPatch, number: int, reading: str
) -> None:
    event = new_event()
    record = await recorded(archiver, event, 1)
    archiver.store.delete(record.hours[0].key)
    real, calls = getattr(finding, reading), 0

    def fails(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(number, os.strerror(number))
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(finding, reading, fails)
        if number == errno.EIO:  # of this one file
            await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
            assert [hour.segments for hour in (await there(archiver, event)).hours] == [EACH - 1]
        else:
            with pytest.raises(Unavailable):
                await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
            assert (await there(archiver, event)).hours == record.hours
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    (found,) = held(archiver, await there(archiver, event))
    assert [i.number for i in found] == list(range(EACH))
