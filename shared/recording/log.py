"""Reading one event's part of SEGMENTS, by batched direct gets: a request, then the messages, nothing left behind.

Wire format: ADR-31 of nats-architecture-and-design, "Direct Get API for JetStream", batched requests. Needs
nats-server 2.11 and a stream with `allow_direct`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError
from pydantic import ValidationError

from shared.errors import Unavailable
from shared.logging import get_logger
from shared.messages.media import SegmentWritten
from shared.streams import SEGMENTS
from shared.subjects import segments_subject

log = get_logger()
BATCH: Final = 1000
TIMEOUT_S: Final = 5.0
NO_MESSAGES: Final = "404"
END_OF_BATCH: Final = "204"


class Logged(NamedTuple):
    """A segment and its place in SEGMENTS."""

    log: int
    segment: SegmentWritten


async def read_log(
    js: JetStreamContext, account: str, event: str, *, after: int = 0, since_ms: int | None = None, most: int = 200_000
) -> list[Logged]:
    """Read the event's segments that were published after place `after` or since a wall-clock time (ms).

    In the log's order, at most `most`. Unavailable when the broker does not answer.
    """
    subject = segments_subject(account, event)
    start: dict[str, Any] = {"seq": after + 1} if since_ms is None else {"start_time": _rfc3339(since_ms)}
    found: list[Logged] = []
    while len(found) < most:
        batch = await _batch(js, {**start, "next_by_subj": subject, "batch": min(BATCH, most - len(found))})
        if "start_time" in start and batch and int(_header(batch[0], "Nats-Sequence")) <= after:
            start = {"seq": after + 1}  # that time is not within what is asked for
            continue
        found += [logged for message in batch if (logged := _parse(message)) is not None]
        if not batch or _header(batch[-1], "Nats-Num-Pending") in {"", "0"}:
            break
        start = {"seq": int(_header(batch[-1], "Nats-Sequence")) + 1}
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
        log.error("recording.log.unreadable", place=message.seq)
        return None


async def _batch(js: JetStreamContext, request: dict[str, Any]) -> list[Msg]:
    """Make one batched direct get; its messages, without the one that ends it."""
    client = js._nc  # noqa: SLF001  nats-py has no call for batches, and a context gives its connection nowhere else
    inbox = client.new_inbox()
    messages: list[Msg] = []
    ended: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def collect(message: Msg) -> None:  # a call-back costs a third of awaiting each message
        if message.data:
            messages.append(message)
        elif not ended.done():
            ended.set_result(message)

    try:
        subscription = await client.subscribe(inbox, cb=collect)
        try:
            subject = f"{js._prefix}.DIRECT.GET.{SEGMENTS}"  # noqa: SLF001  as above
            await client.publish(subject, json.dumps(request).encode(), reply=inbox)
            status = _header(await asyncio.wait_for(ended, TIMEOUT_S), "Status")
        finally:
            await subscription.unsubscribe()
    except (NatsError, TimeoutError, OSError) as error:
        raise Unavailable(f"SEGMENTS: {type(error).__name__}") from error
    if status not in {NO_MESSAGES, END_OF_BATCH}:
        raise Unavailable(f"SEGMENTS: direct get answered {status or 'nothing'}")
    return messages


def _parse(message: Msg) -> Logged | None:
    """Read one message; one that is no segment is passed over: the archiver's guard keeps it in the dead letters."""
    place = int(_header(message, "Nats-Sequence"))
    try:
        return Logged(place, SegmentWritten.model_validate_json(message.data))
    except ValidationError:
        log.error("recording.log.unreadable", place=place)
        return None


def _header(message: Msg, name: str) -> str:
    return str((message.headers or {}).get(name, ""))


def _rfc3339(at_ms: int) -> str:
    seconds, millis = divmod(max(at_ms, 0), 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03d}Z"
