"""The commands from connect to publish."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from services.ingester.refusals import Why
from services.ingester.rtmp.commands import connect_result, refusal_code, status
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.link import Link
from services.ingester.rtmp.request import PublishRequest, make_request
from shared.rtmp.chunks import Message
from shared.rtmp.commands import COMMANDS, Command, read_command
from shared.rtmp.errors import PeerGone, ProtocolError

_MAX_STREAMS = 8
_ACKNOWLEDGED = frozenset({"releaseStream", "getStreamLength", "_checkbw"})
_NAMING = frozenset({"releaseStream", "FCPublish"})
_MAX_ANNOUNCED = 4


class Asked(NamedTuple):
    """A publish command: its request, its message stream, and the messages after it in the same read."""

    request: PublishRequest
    stream_id: int
    rest: list[Message]


class Negotiation:
    """Answers commands until one asks to publish."""

    def __init__(self, link: Link, limits: RtmpLimits, *, peer: str) -> None:
        self._link = link
        self._limits = limits
        self._peer = peer
        self._connected = False
        self._app = self._tc_url = ""
        self._streams = 0
        self._announced: deque[str] = deque(maxlen=_MAX_ANNOUNCED)

    def take(self, messages: list[Message]) -> Asked | None:
        """Answer messages; return the publish command when there is one, else None. Raises ProtocolError."""
        for index, message in enumerate(messages):
            if message.kind not in COMMANDS:
                continue
            command = read_command(message, depth=self._limits.amf_depth, values=self._limits.amf_values)
            if command.name == "publish":
                return self._publish(command, messages[index + 1 :])
            self._answer(command)
        return None

    def refuse(self, stream_id: int, description: str, why: Why) -> None:
        """Send a refusal to the publisher."""
        info = status("error", refusal_code(why), description)
        self._link.send_command("onStatus", 0.0, None, info, stream_id=stream_id)

    def accept(self, stream_id: int) -> None:
        """Tell the publisher to start."""
        self._link.begin_stream(stream_id)
        info = status("status", "NetStream.Publish.Start", "Publishing.")
        self._link.send_command("onStatus", 0.0, None, info, stream_id=stream_id)

    def end(self, stream_id: int) -> None:
        """Confirm to a publisher that it has unpublished, unless it is already gone."""
        info = status("status", "NetStream.Unpublish.Success", "Unpublished.")
        with suppress(PeerGone):
            self._link.send_command("onStatus", 0.0, None, info, stream_id=stream_id)

    def _answer(self, command: Command) -> None:
        handler = _HANDLERS.get(command.name)
        if command.name in _NAMING and command.text(1):
            self._announced.append(command.text(1))
        if command.name == "connect":
            self._connect(command)
        elif not self._connected:
            raise ProtocolError("command before connect")
        elif handler is not None:
            handler(self, command)
        elif command.name in _ACKNOWLEDGED and command.transaction:
            self._link.send_command("_result", command.transaction, None, None)

    def _connect(self, command: Command) -> None:
        if self._connected:
            raise ProtocolError("connected twice")
        self._connected = True
        details = command.mapping(0)
        app, tc_url = details.get("app"), details.get("tcUrl")
        self._app = app if isinstance(app, str) else ""
        self._tc_url = tc_url if isinstance(tc_url, str) else ""
        self._link.greet()
        self._link.send_command("_result", command.transaction, *connect_result(details.get("objectEncoding")))

    def _create_stream(self, command: Command) -> None:
        self._streams += 1
        if self._streams > _MAX_STREAMS:
            raise ProtocolError("too many message streams")
        self._link.send_command("_result", command.transaction, None, float(self._streams))

    def _fc_publish(self, command: Command) -> None:
        if command.transaction:
            self._link.send_command("_result", command.transaction, None, None)
        # Flash Media Live Encoder and its descendants wait for this message.
        info = status("status", "NetStream.Publish.Start", "Go on.")
        self._link.send_command("onFCPublish", 0.0, None, info)

    def _play(self, command: Command) -> None:
        info = status("error", "NetStream.Play.Failed", "This server only takes publishers.")
        self._link.send_command("onStatus", 0.0, None, info, stream_id=command.stream_id)
        raise ProtocolError("play is not offered")

    def _publish(self, command: Command, rest: list[Message]) -> Asked:
        if not self._connected:
            raise ProtocolError("command before connect")
        request = make_request(
            self._app,
            command.text(1),
            self._tc_url,
            peer=self._peer,
            secure=self._link.transport.secure,
            announced=self._announced,
        )
        return Asked(request, command.stream_id, rest)


_HANDLERS: dict[str, Callable[[Negotiation, Command], None]] = {
    "createStream": Negotiation._create_stream,  # noqa: SLF001  the table belongs to the class
    "FCPublish": Negotiation._fc_publish,  # noqa: SLF001
    "play": Negotiation._play,  # noqa: SLF001
    "play2": Negotiation._play,  # noqa: SLF001
}
