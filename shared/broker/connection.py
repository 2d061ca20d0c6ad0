"""The connection to the broker: it outlives whatever the broker says, and waits before what failed at once.

nats-py ends a connection for good at any error that the broker names (`-ERR`): a user whose password was changed for a
moment, one message too large. FastStream's loops would then ask a closed connection without a pause, and hold the
whole process.
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
    """Connects anew after any error that ends a connection, and sends nothing that would be one."""

    async def _process_err(self, err_msg: str) -> None:
        """Take an error of the broker's; only one about rights leaves the connection as it is."""
        if PERMISSIONS_ERR in err_msg or STALE_CONNECTION in err_msg:
            await super()._process_err(err_msg)
            return
        error = NatsError("nats: " + err_msg.strip("'"))
        await self._error_cb(error)
        if self._current_server is not None:
            self._current_server.last_attempt = time.monotonic()  # so that this one is called after a pause only
        await self._process_op_err(error)

    def outlive_errors(self) -> None:
        """From now on no error that is told ends anything: FastStream raises it, also while connecting anew."""
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
        """Publish; MaxPayloadError for what is too large together with its headers, as the broker counts it."""
        if headers and len(payload) + _size(headers) > self.max_payload:
            raise MaxPayloadError
        await super().publish(subject, payload, reply, headers)

    def jetstream(self, **opts: Any) -> JetStreamContext:
        """Return a context whose pull subscriptions wait after a failure."""
        return _PatientJetStream(self, **opts)


def _size(headers: Mapping[str, str]) -> int:
    return _HEAD + sum(len(key.encode()) + len(value.encode()) + _FIELD for key, value in headers.items())


class PatientPull(JetStreamContext.PullSubscription):
    """A pull subscription for a loop that asks again at once, whatever happens."""

    async def fetch(self, *args: Any, **kwargs: Any) -> list[Msg]:
        """Fetch as ever; what fails before its time, as where the consumer is missing, fails a little later."""
        try:
            return await super().fetch(*args, **kwargs)
        except NatsTimeoutError:  # it has waited
            raise
        except (NatsError, OSError):
            await asyncio.sleep(PAUSE.total_seconds())
            raise


class _PatientJetStream(JetStreamContext):
    async def pull_subscribe(self, *args: Any, **kwargs: Any) -> JetStreamContext.PullSubscription:
        made = await super().pull_subscribe(*args, **kwargs)
        made.__class__ = PatientPull  # nats-py makes it nowhere else, and by name
        return made


class SteadyBroker(NatsBroker):
    """FastStream's broker over such a connection."""

    async def _connect(self) -> Client:
        connection = SteadyClient()
        await connection.connect(**self._connection_kwargs)
        connection.outlive_errors()
        self.config.connect(connection)
        return connection
