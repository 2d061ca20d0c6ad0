"""A small service in its own process: `python -m tests.support.shared_child MANNER FOLDER`.

It handles `clips.refine` as the clipper does, with two tries of at most 1 s each. `die`: kills itself in the handler.
`slow`: works until FOLDER/go is there. `plain`: records the message. Lines go to FOLDER/notes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from shared.messages.clips import ClipRefine
from shared.runtime.service import Service, main
from tests.support.shared_bus import hasten
from tests.support.waiting import wait_until

ACK_WAIT = timedelta(seconds=1)


def note(folder: Path, line: str) -> None:
    with (folder / "notes").open("a") as file:
        file.write(f"{line}\n")


def build(manner: str, folder: Path, service: Service) -> None:
    async def refine(message: ClipRefine) -> None:
        note(folder, f"begun {message.clip}")
        if manner == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if manner == "slow":
            await asyncio.to_thread(wait_until, (folder / "go").exists)
        note(folder, f"done {message.clip}")

    async def dead(body: bytes, reason: str) -> None:
        note(folder, f"mourned {ClipRefine.model_validate_json(body).clip} {reason}")

    service.handle("clipper-refine", refine, dead)


if __name__ == "__main__":
    hasten("clipper-refine", max_deliver=2, ack_wait=ACK_WAIT)
    manner, where = sys.argv[1:]
    main("clipper", lambda service: build(manner, Path(where), service))
