"""Commands that wait in another service's work queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.broker.subjects import channel_of
from shared.errors import Unavailable
from shared.messages.base import Message

M = TypeVar("M", bound=Message)
_FAULTS: Final = (NatsError, APIError, TimeoutError, OSError)


class WaitingCommands:
    """Reads a command's queue. Read it before the records: a command that is gone by then is part of a record."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], command: type[Message]) -> None:
        self._jetstream = jetstream
        self._queue = channel_of(command).stream

    async def last(self, command: type[M], account: str, ident: str) -> M | None:
        """Return the last command about a thing, None without one; Unavailable."""
        with _answering():
            try:
                message = await self._jetstream().get_last_msg(self._queue, f"{command.channel}.{account}.{ident}")
            except NotFoundError:
                return None
        return command.model_validate_json(message.data or b"")

    async def all_about(self, command: type[M], account: str, ident: str, most: int) -> list[M]:
        """Return up to `most` commands about a thing, in order; Unavailable."""
        subject, after = f"{command.channel}.{account}.{ident}", 1
        found: list[M] = []
        with _answering():
            try:
                while len(found) < most:
                    message = await self._jetstream().get_msg(self._queue, seq=after, subject=subject, next=True)
                    after = (message.seq or 0) + 1
                    found.append(command.model_validate_json(message.data or b""))
            except NotFoundError:
                return found
        return found

    async def counts(self, subjects: str) -> dict[str, int]:
        """Return the number of commands by subject, for the subjects that match a pattern; Unavailable."""
        with _answering():
            info = await self._jetstream().stream_info(self._queue, subjects_filter=subjects)
        return dict(info.state.subjects or {})


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise Unavailable(f"commands: {type(error).__name__}") from error
