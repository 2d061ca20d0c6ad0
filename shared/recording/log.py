"""Reading one event's part of SEGMENTS."""

from __future__ import annotations

from typing import Any, NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError
from pydantic import ValidationError

from shared.broker.batches import BATCH, has_more, read_batch, sequence_of
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.errors import Unavailable
from shared.messages.media import SegmentWritten
from shared.runtime.clock import rfc3339
from shared.runtime.logging import get_logger

log = get_logger()


class Logged(NamedTuple):
    """A segment and its sequence in SEGMENTS."""

    log: int
    segment: SegmentWritten


async def read_log(
    js: JetStreamContext, account: str, event: str, *, after: int = 0, since_ms: int | None = None, most: int = 200_000
) -> list[Logged]:
    """Read the event's segments that were published after sequence `after` or since a wall-clock time (ms).

    They come in the log's order, at most `most`. Unavailable when the broker does not answer.
    """
    subject = segments_subject(account, event)
    start: dict[str, Any] = {"seq": after + 1} if since_ms is None else {"start_time": rfc3339(max(since_ms, 0))}
    found: list[Logged] = []
    while len(found) < most:
        batch = await read_batch(
            js, SEGMENTS, {**start, "next_by_subj": subject, "batch": min(BATCH, most - len(found))}
        )
        if "start_time" in start and batch and sequence_of(batch[0]) <= after:
            start = {"seq": after + 1}  # that time lies before the requested part
            continue
        found += [logged for message in batch if (logged := _parse(message)) is not None]
        if not has_more(batch):
            break
        start = {"seq": sequence_of(batch[-1]) + 1}
    return [logged for logged in found if logged.log > after]


async def newest(js: JetStreamContext, account: str, event: str) -> Logged | None:
    """Read the event's newest segment; None when SEGMENTS holds none."""
    try:
        message = await js.get_last_msg(SEGMENTS, segments_subject(account, event), direct=True)
    except NotFoundError:
        return None
    except (NatsError, APIError, TimeoutError, OSError) as error:
        raise Unavailable(f"SEGMENTS: {type(error).__name__}") from error
    try:
        return Logged(message.seq or 0, SegmentWritten.model_validate_json(message.data or b""))
    except ValidationError:
        log.error("recording.log.unreadable", sequence=message.seq)
        return None


def _parse(message: Msg) -> Logged | None:
    """Read one message; None when it is no segment: the archiver's guard keeps it in the dead letters."""
    sequence = sequence_of(message)
    try:
        return Logged(sequence, SegmentWritten.model_validate_json(message.data))
    except ValidationError:
        log.error("recording.log.unreadable", sequence=sequence)
        return None
