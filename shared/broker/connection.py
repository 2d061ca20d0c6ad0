"""The connection to the broker: it survives errors that the broker sends, and pauses after an immediate failure.

nats-py closes a connection for good on any error that the broker sends (`-ERR`): a password that was changed for a
moment, one message that is too large. FastStream's loops would then poll a closed connection without a pause, and
block the whole process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.protocol.parser import PERMISSIONS_ERR, STALE_CONNECTION

from shared.runtime.logging import get_logger

log = get_logger()
PAUSE: Final = timedelta(milliseconds=500)
_HEAD: Final = len("NATS/1.0\r\n\r\n")
_FIELD: Final = len(": \r\n")


class SteadyClient(Client):
    """Reconnects after any error that ends a connection, and refuses messages that would cause one."""

    async def _process_err(self, err_msg: str) -> None:
        """Handle an error from the broker: reconnect, except after a permission error."""
        if PERMISSIONS_ERR in err_msg or STALE_CONNECTION in err_msg:
            await super()._process_err(err_msg)
            return
        error = NatsError("nats: " + err_msg.strip("'"))
        await self._error_cb(error)
        if self._current_server is not None:
            self._current_server.last_attempt = time.monotonic()  # retry this server only after a pause
        await self._process_op_err(error)

    def outlive_errors(self) -> None:
        """Log errors that the error callback raises: FastStream's callback raises them, also during a reconnect."""
        tell = self._error_cb

        async def told(error: Exception) -> None:
            try:
                await tell(error)
            except NatsError:
                log.warning("broker.error", error=str(error))

        self._error_cb = told

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        """Publish; raise MaxPayloadError when payload and headers together exceed the broker's limit."""
        if headers and len(payload) + _size(headers) > self.max_payload:
            raise MaxPayloadError
        await super().publish(subject, payload, reply, headers)

    def jetstream(self, **opts: Any) -> JetStreamContext:
        """Return a context whose pull subscriptions wait after a failure."""
        return _PatientJetStream(self, **opts)


def _size(headers: Mapping[str, str]) -> int:
    return _HEAD + sum(len(key.encode()) + len(value.encode()) + _FIELD for key, value in headers.items())


class PatientPull(JetStreamContext.PullSubscription):
    """A pull subscription for a loop that fetches again at once, whatever happens."""

    async def fetch(self, *args: Any, **kwargs: Any) -> list[Msg]:
        """Fetch; when it fails before its timeout (a missing consumer, say), sleep PAUSE before raising the error."""
        try:
            return await super().fetch(*args, **kwargs)
        except NatsTimeoutError:  # the fetch has already waited
            raise
        except (NatsError, OSError):
            await asyncio.sleep(PAUSE.total_seconds())
            raise


class _PatientJetStream(JetStreamContext):
    async def pull_subscribe(self, *args: Any, **kwargs: Any) -> JetStreamContext.PullSubscription:
        made = await super().pull_subscribe(*args, **kwargs)
        made.__class__ = PatientPull  # nats-py has no option for the class
        return made


class SteadyBroker(NatsBroker):
    """FastStream's broker over a SteadyClient."""

    async def _connect(self) -> Client:
        connection = SteadyClient()
        await connection.connect(**self._connection_kwargs)
        connection.outlive_errors()
        self.config.connect(connection)
        return connection
