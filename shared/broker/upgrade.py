"""Upgrade of an older broker: move messages from the one work queue of all services into the services' own (ADR 21).

Each step may be repeated, and run by several processes at once. Services of the older version must have stopped.
"""

from __future__ import annotations

import contextlib
from typing import Final

from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.broker.streams import OLD_COMMANDS
from shared.broker.subjects import BY_NAME
from shared.runtime.logging import get_logger

log = get_logger()
EMPTIED: Final = f"moved.{OLD_COMMANDS}"


async def retire(js: JetStreamContext) -> int | None:
    """Close the old queue to new messages, delete its consumers and return its last sequence; None if missing."""
    try:
        info = await js.stream_info(OLD_COMMANDS)
        for consumer in await js.consumers_info(OLD_COMMANDS):
            with contextlib.suppress(NotFoundError):
                await js.delete_consumer(OLD_COMMANDS, consumer.name)
        await js.update_stream(info.config.evolve(subjects=[EMPTIED]))
    except NotFoundError:
        return None
    return int(info.state.last_seq)


async def move(js: JetStreamContext) -> None:
    """Move the old queue's messages, with their ids, and delete it. Messages without a new queue stay; log them."""
    sequence, moved, left = 0, 0, 0
    while True:
        try:
            message = await js.get_msg(OLD_COMMANDS, seq=sequence + 1, subject=">", next=True)
        except NotFoundError:
            break
        sequence = message.seq or 0
        subject = message.subject or ""
        channel = BY_NAME.get(subject.rsplit(".", 2)[0])
        if channel is None:
            log.error("provision.not_moved", subject=subject, sequence=sequence)
            left += 1
            continue
        await js.publish(subject, message.data or b"", stream=channel.stream, headers=message.headers)
        await _take_out(js, sequence)
        moved += 1
    if not left:
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(OLD_COMMANDS)
    log.info("provision.moved", messages=moved, left=left)


async def _take_out(js: JetStreamContext, sequence: int) -> None:
    """Delete a message from the old queue; another run may have deleted it already."""
    try:
        await js.delete_msg(OLD_COMMANDS, sequence)
    except APIError:
        with contextlib.suppress(NotFoundError):
            await js.get_msg(OLD_COMMANDS, sequence)
            raise
