"""Connects to an RTMP server: connection, handshake and commands up to the answer that publishing may start.

RTMP 1.0, sections 5.2 and 7.2; releaseStream and FCPublish as FFmpeg and librtmp send them; fourCcList as in Enhanced
RTMP. Runs in a thread of its own, and blocks.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping

from services.restreamer.targets.addresses import RtmpAddress
from services.restreamer.targets.rtmp import auth
from services.restreamer.targets.rtmp.line import RtmpLine, new_parser
from services.restreamer.targets.rtmp.pack import CHUNK_SIZE
from services.restreamer.targets.rtmp.tags import CLASSIC, FOURCCS
from services.restreamer.targets.rules import NS, TargetRules
from services.restreamer.targets.terms import TargetError, redact
from shared.errors import DestinationFailed, Rejected
from shared.rtmp import chunks, handshake
from shared.rtmp.amf import encode
from shared.rtmp.chunks import Message, write_message
from shared.rtmp.commands import COMMANDS, Command, read_command
from shared.rtmp.cursor import Value
from shared.rtmp.errors import RtmpError
from shared.runtime.clock import Clock, to_ns
from shared.security.netguard.blocking import connect_now

_CONTROL, _COMMANDS, _PUBLISH = 2, 3, 8  # chunk streams, as FFmpeg numbers them
_CONNECT, _RELEASE, _FC_PUBLISH, _CREATE, _PUBLISH_ID = 1.0, 2.0, 3.0, 4.0, 5.0
_FIRST_CHUNKS = 128
_CALLS = 3  # anonymous, with the user, with the response to the challenge
_VERSION = "FMLE/3.0 (compatible; Reelay)"
_WINDOW = 2_500_000
_ENHANCED = [fourcc for codec, fourcc in FOURCCS.items() if codec not in CLASSIC]


def call_rtmp(address: RtmpAddress, rules: TargetRules, clock: Clock) -> RtmpLine:
    """Connect and ask to publish; TargetError when that fails or takes too long."""
    until_ns = clock.monotonic_ns() + to_ns(rules.call_within)
    login = ""
    for _ in range(_CALLS):
        try:
            sock = connect_now(
                address.host, address.port, allowed=rules.allowed, within=rules.call_within, lookup=rules.lookup
            )
        except (Rejected, DestinationFailed) as error:
            raise TargetError(str(error), final=isinstance(error, Rejected)) from error
        talk = _Talk(sock, clock, until_ns)
        try:
            return _publish(talk, address, rules, login)
        except _AskedError as asked:
            talk.sock.close()
            login = asked.login
        except BaseException:
            talk.sock.close()
            raise
    raise TargetError("the server does not take this user and password", final=True)


def _publish(talk: _Talk, address: RtmpAddress, rules: TargetRules, login: str) -> RtmpLine:
    try:
        if address.secure:
            talk.secure(rules.tls or ssl.create_default_context(), address.host)
        talk.shake_hands()
        known = talk.connect(address, login)
        stream_id = talk.create_stream(address.name)
        talk.publish(address.name, stream_id)
    except ssl.SSLCertVerificationError as error:
        raise TargetError(f"the TLS certificate is not trusted: {error.verify_message}", final=True) from error
    except TimeoutError as error:
        raise TargetError("did not answer in time") from error
    except ssl.SSLError as error:
        raise TargetError(f"TLS failed: {error.reason or 'unknown'}") from error
    except OSError as error:
        raise TargetError(f"the connection failed: {error.strerror or 'closed'}") from error
    except RtmpError as error:
        raise TargetError(f"does not speak RTMP: {error}") from error
    except _RefusedError as error:
        raise TargetError(redact(str(error), address.secrets), final=True) from error
    return RtmpLine(talk.sock, talk.parser, stream_id, address, known)


class _RefusedError(Exception):
    """The server refused, with a text that may contain a key."""


class _AskedError(Exception):
    """The server wants a new connection with `login` in the application's query."""

    def __init__(self, login: str) -> None:
        super().__init__("authentication")
        self.login = login


class _Talk:
    """A blocking exchange with a server, with a deadline."""

    def __init__(self, sock: socket.socket, clock: Clock, until_ns: int) -> None:
        self.sock = sock
        self.parser = new_parser()
        self._clock = clock
        self._until_ns = until_ns
        self._messages = self._receive()

    def _bound_wait(self) -> None:
        """Let the socket's next call wait until the deadline; raise TimeoutError after it."""
        left = self._until_ns - self._clock.monotonic_ns()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left / NS)

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Start TLS; the certificate has to be for `name`."""
        self._bound_wait()
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def shake_hands(self) -> None:
        """Do the plain handshake."""
        self._send(handshake.hello(time_ms=self._clock.monotonic_ns() // 1_000_000))
        answer = b""
        while len(answer) < 1 + 2 * handshake.SIZE:
            self._bound_wait()
            part = self.sock.recv(1 + 2 * handshake.SIZE - len(answer))
            if not part:
                raise TargetError("closed the connection in the handshake")
            answer += part
            if answer[0] != handshake.VERSION:
                raise TargetError("does not speak RTMP")
        self._send(answer[1 : 1 + handshake.SIZE])

    def connect(self, address: RtmpAddress, login: str) -> frozenset[str]:
        """Connect to the application; return the codecs (FOURCCs) that the server lists, if it does.

        Raises _AskedError when the server asks for authentication.
        """
        wishes: dict[str, Value] = {
            "app": address.app + login, "type": "nonprivate", "flashVer": _VERSION, "tcUrl": address.tc_url + login,
            "fourCcList": _ENHANCED,
        }  # fmt: skip
        self._command("connect", _CONNECT, wishes, size=_FIRST_CHUNKS)
        try:
            answer = self._result(_CONNECT, "connect")
        except _RefusedError as error:
            if again := auth.answer(str(error), address.user, address.password, address.app):
                raise _AskedError(again) from error
            raise
        sizes = ((chunks.SET_CHUNK_SIZE, CHUNK_SIZE), (chunks.WINDOW_ACK_SIZE, _WINDOW))
        for kind, size in sizes:
            self._send(write_message(_CONTROL, kind, 0, size.to_bytes(4, "big"), chunk_size=_FIRST_CHUNKS))
        return _codecs({**answer.mapping(0), **answer.mapping(1)})

    def create_stream(self, name: str) -> int:
        """Announce the stream's name; return the number of a message stream for it."""
        self._command("releaseStream", _RELEASE, None, name)
        self._command("FCPublish", _FC_PUBLISH, None, name)
        self._command("createStream", _CREATE, None)
        values = self._result(_CREATE, "createStream").values
        number = values[1] if len(values) > 1 else None
        if not isinstance(number, float) or not 0 < number < 1 << 32:
            raise TargetError("gave no message stream")
        return int(number)

    def publish(self, name: str, stream_id: int) -> None:
        """Ask to publish and wait for the answer."""
        body = encode("publish", _PUBLISH_ID, None, name, "live")
        self._send(write_message(_PUBLISH, chunks.COMMAND_AMF0, stream_id, body, chunk_size=CHUNK_SIZE))
        for command in self._commands():
            if command.name == "onStatus" and command.mapping(1).get("code") == "NetStream.Publish.Start":
                return
            if command.name == "_error" and command.transaction == _PUBLISH_ID:
                raise _RefusedError(_reason("publish", command))

    def _command(self, *values: Value, size: int = CHUNK_SIZE) -> None:
        self._send(write_message(_COMMANDS, chunks.COMMAND_AMF0, 0, encode(*values), chunk_size=size))

    def _send(self, data: bytes) -> None:
        self._bound_wait()
        self.sock.sendall(data)

    def _result(self, transaction: float, what: str) -> Command:
        for command in self._commands():
            if command.transaction != transaction:
                continue
            if command.name == "_result":
                return command
            if command.name == "_error":
                raise _RefusedError(_reason(what, command))
        raise TargetError("closed the connection")

    def _commands(self) -> Iterator[Command]:
        """Yield commands as they come; raise _RefusedError at a status that is an error."""
        for message in self._messages:
            if message.kind not in COMMANDS:
                continue
            command = read_command(message)
            if command.name == "onStatus" and command.mapping(1).get("level") == "error":
                raise _RefusedError(_reason("publish", command))
            if command.name == "close":
                raise _RefusedError("refused: the server closes the connection")
            yield command

    def _receive(self) -> Iterator[Message]:
        """Yield messages, each valid until the next; raise TargetError at the end of the connection."""
        while True:
            self._bound_wait()
            count = self.sock.recv_into(self.parser.room())
            if not count:
                raise TargetError("closed the connection before publishing could begin")
            yield from self.parser.parse(count)


def _reason(what: str, command: Command) -> str:
    """Return an error's code and description."""
    info: Mapping[str, Value] = {**command.mapping(0), **command.mapping(1)}
    said = [text for name in ("code", "description") if isinstance(text := info.get(name), str) and text]
    return f"refused {what}: {': '.join(said) or 'without a reason'}"


def _codecs(info: Mapping[str, Value]) -> frozenset[str]:
    """Read the enhanced codecs of a connect result: a list, or maps by FOURCC; "*" is all."""
    found: set[str] = set()
    listed = info.get("fourCcList")
    if isinstance(listed, list):
        found.update(item for item in listed if isinstance(item, str))
    for name in ("videoFourCcInfoMap", "audioFourCcInfoMap"):
        listed = info.get(name)
        if isinstance(listed, Mapping):
            found.update(listed)
    return frozenset(() if "*" in found else found)
