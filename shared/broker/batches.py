"""Reading a part of a stream by batched direct gets: a request, then the messages, nothing left behind.

Wire format: ADR-31 of nats-architecture-and-design, "Direct Get API for JetStream", batched requests. Needs
nats-server 2.11 and a stream with `allow_direct`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from shared.errors import Unavailable

BATCH: Final = 1000
TIMEOUT: Final = timedelta(seconds=5)
NO_MESSAGES: Final = "404"
END_OF_BATCH: Final = "204"


async def read_batch(js: JetStreamContext, stream: str, request: dict[str, Any]) -> list[Msg]:
    """Make one batched direct get; its messages, without the one that ends it. Unavailable.

    The messages' sequences and subjects are in their headers: `sequence_of`, `Nats-Subject`.
    """
    client = js._nc  # noqa: SLF001  nats-py has no call for batches, and a context gives its connection nowhere else
    inbox = client.new_inbox()
    messages: list[Msg] = []
    ended: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def collect(message: Msg) -> None:  # a call-back costs a third of awaiting each message
        if header(message, "Nats-Sequence"):
            messages.append(message)
        elif not ended.done():
            ended.set_result(message)

    try:
        subscription = await client.subscribe(inbox, cb=collect)
        try:
            subject = f"{js._prefix}.DIRECT.GET.{stream}"  # noqa: SLF001  as above
            await client.publish(subject, json.dumps(request).encode(), reply=inbox)
            status = header(await asyncio.wait_for(ended, TIMEOUT.total_seconds()), "Status")
        finally:
            await subscription.unsubscribe()
    except (NatsError, TimeoutError, OSError) as error:
        raise Unavailable(f"{stream}: {type(error).__name__}") from error
    if status not in {NO_MESSAGES, END_OF_BATCH}:
        raise Unavailable(f"{stream}: direct get answered {status or 'nothing'}")
    return messages


def header(message: Msg, name: str) -> str:
    """Return a header of a message; empty when it has none of that name."""
    return str((message.headers or {}).get(name, ""))


def sequence_of(message: Msg) -> int:
    """Return the sequence in its stream of a message that was read by a direct get."""
    return int(header(message, "Nats-Sequence"))


def has_more(messages: list[Msg]) -> bool:
    """Tell whether the stream held more of what was asked for than this batch."""
    return bool(messages) and header(messages[-1], "Nats-Num-Pending") not in {"", "0"}
