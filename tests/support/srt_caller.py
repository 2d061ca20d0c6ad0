"""An encoder that calls an SRT listener and sends MPEG-TS as live messages."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import Final, Self

from shared.srt.caller import CallOptions, prepare
from shared.srt.constants import LIVE_PAYLOAD, Option, Reject
from shared.srt.errors import SrtError, SrtRefused
from shared.srt.library import load
from shared.srt.sockets import SrtSocket
from shared.srt.stats import SrtStats

_FLUSH_STEP: Final = timedelta(milliseconds=10)


class SrtCaller:
    """A connection to a listener that bytes are sent to; one thread sends, any may close."""

    def __init__(self, host: str, port: int, options: CallOptions | None = None) -> None:
        """Connect; SrtRefused with the listener's reason, SrtUnavailable, OSError for an unknown name."""
        options = options or CallOptions()
        self._socket = SrtSocket.create(load())
        try:
            prepare(self._socket, options)
            self._socket.connect(host, port)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send bytes in messages of seven MPEG-TS packets; SrtError when the connection is gone or stuck."""
        for start in range(0, len(data), LIVE_PAYLOAD):
            self._socket.send(data[start : start + LIVE_PAYLOAD])

    def flush(self, timeout: timedelta) -> bool:
        """Wait until the listener has everything sent so far; False when the time or the connection ended first."""
        with suppress(SrtError):
            for _ in range(timeout // _FLUSH_STEP + 1):
                if self._socket.get(Option.SNDDATA) == 0:
                    return True
                time.sleep(_FLUSH_STEP / timedelta(seconds=1))
        return False

    def stats(self) -> SrtStats:
        """Totals of the connection; SrtError once it has gone."""
        return self._socket.stats()

    def close(self) -> None:
        """Disconnect at once; what is not sent yet is lost (see `flush`)."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Use as a context that disconnects at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()


def call(
    port: int, streamid: str = "cam", passphrase: str | None = None, latency: timedelta = timedelta(milliseconds=120)
) -> SrtCaller:
    """Call a listener on loopback, with the patience that a busy machine needs."""
    wait = timedelta(seconds=20)
    options = CallOptions(streamid=streamid, passphrase=passphrase, connect_timeout=wait, latency=latency)
    return SrtCaller("127.0.0.1", port, options)


def refused(port: int, streamid: str, passphrase: str | None = None) -> Reject:
    """Call in vain; return the reason."""
    try:
        call(port, streamid, passphrase).close()
    except SrtRefused as error:
        return Reject(error.reason)
    raise AssertionError(f"{streamid} was let in")
