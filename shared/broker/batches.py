"""Read a part of a stream by batched direct gets: one request, then the messages; no consumer is left over.

Wire format: ADR-31 of nats-architecture-and-design, "Direct Get API for JetStream", batched requests. Needs
nats-server 2.11 and a stream with `allow_direct`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from shared.errors import Unavailable

BATCH: Final = 1000
TIMEOUT_S: Final = 5.0
NO_MESSAGES: Final = "404"
END_OF_BATCH: Final = "204"


async def read_batch(js: JetStreamContext, stream: str, request: dict[str, Any]) -> list[Msg]:
    """Return the messages of one batched direct get, without the one that ends the batch; raise Unavailable.

    The messages' headers hold their sequences and subjects: `sequence_of`, `Nats-Subject`.
    """
    client = js._nc  # noqa: SLF001  nats-py has no call for batches, and no public attribute for a context's connection
    inbox = client.new_inbox()
    messages: list[Msg] = []
    ended: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def collect(message: Msg) -> None:  # a callback costs a third of awaiting each message
        if header(message, "Nats-Sequence"):
            messages.append(message)
        elif not ended.done():
            ended.set_result(message)

    try:
        subscription = await client.subscribe(inbox, cb=collect)
        try:
            subject = f"{js._prefix}.DIRECT.GET.{stream}"  # noqa: SLF001  as above
            await client.publish(subject, json.dumps(request).encode(), reply=inbox)
            status = header(await asyncio.wait_for(ended, TIMEOUT_S), "Status")
        finally:
            await subscription.unsubscribe()
    except (NatsError, TimeoutError, OSError) as error:
        raise Unavailable(f"{stream}: {type(error).__name__}") from error
    if status not in {NO_MESSAGES, END_OF_BATCH}:
        raise Unavailable(f"{stream}: direct get answered {status or 'nothing'}")
    return messages


def header(message: Msg, name: str) -> str:
    """Return a header of a message; "" when the message has no header of that name."""
    return str((message.headers or {}).get(name, ""))


def sequence_of(message: Msg) -> int:
    """Return the stream sequence of a message that was read by a direct get."""
    return int(header(message, "Nats-Sequence"))


def has_more(messages: list[Msg]) -> bool:
    """Return whether the stream held more of the requested messages than this batch."""
    return bool(messages) and header(messages[-1], "Nats-Num-Pending") not in {"", "0"}
