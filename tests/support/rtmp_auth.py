"""An RTMP server that asks for authentication by Adobe's or Limelight's scheme, as Wowza and others do."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.rtmp import handshake
from shared.rtmp.amf import encode
from shared.rtmp.chunks import COMMAND_AMF0, ChunkLimits, ChunkParser, write_message
from shared.rtmp.commands import COMMANDS, read_command

USER, PASSWORD = "studio", "pass/wörd"
SALT, CHALLENGE, OPAQUE, NONCE = "c2FsdA==", "Y2hhbA==", "b3BhcXVl", "6e6f6e6365"


class AuthServer:
    """Accepts one user's publishers; keeps the applications asked for and the names published."""

    def __init__(self, scheme: str, password: str, *, opaque: bool) -> None:
        self._password = password
        self.scheme = scheme
        self.asked: list[str] = []
        self.published: list[str] = []
        self._opaque = opaque
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(20)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            hello = peer.recv(1537, socket.MSG_WAITALL)
            peer.sendall(handshake.answer(hello, time_ms=1))
            peer.recv(1536, socket.MSG_WAITALL)
            parser = ChunkParser(ChunkLimits(1 << 20, 1 << 20, 64))
            while count := peer.recv_into(parser.room()):
                for message in parser.parse(count):
                    if message.kind in COMMANDS and not self._answer(peer, read_command(message)):
                        peer.shutdown(socket.SHUT_WR)
                        return

    def _answer(self, peer: socket.socket, command) -> bool:  # type: ignore[no-untyped-def]
        if command.name == "connect":
            app = str(command.mapping(0)["app"])
            self.asked.append(app)
            if refusal := self._judge(app):
                info = {"level": "error", "code": "NetConnection.Connect.Rejected", "description": refusal}
                self._send(peer, "_error", command.transaction, None, info)
                return False
            self._send(peer, "_result", command.transaction, {}, {"code": "NetConnection.Connect.Success"})
        elif command.name == "createStream":
            self._send(peer, "_result", command.transaction, None, 1.0)
        elif command.name == "publish":
            self.published.append(command.text(1))
            info = {"level": "status", "code": "NetStream.Publish.Start", "description": "go"}
            self._send(peer, "onStatus", 0.0, None, info, stream=1)
        return True

    def _send(self, peer: socket.socket, *values: object, stream: int = 0) -> None:
        peer.sendall(write_message(3, COMMAND_AMF0, stream, encode(*values), chunk_size=128))

    def _judge(self, app: str) -> str:
        """Return why a connect is refused; empty: it is not."""
        plain, mark, query = app.partition("?authmod=")
        said = dict(part.partition("=")[::2] for part in query.split("&"))
        head = f"[ AccessManager.Reject ] : [ authmod={self.scheme} ] : ?reason="
        if not mark or f"authmod={self.scheme}" not in app:
            return f"[ AccessManager.Reject ] : [ code=403 need auth; authmod={self.scheme} ] : "
        if said.get("user") != USER:
            return f"{head}nosuchuser"
        if "response" not in said:
            opaque = f"&opaque={OPAQUE}" if self._opaque else ""
            told = f"&salt={SALT}&challenge={CHALLENGE}{opaque}" if self.scheme == "adobe" else f"&nonce={NONCE}"
            return f"{head}needauth&user={USER}{told}"
        return "" if said["response"] == self._expected(said, plain) else f"{head}authfailed&opaque={OPAQUE}"

    def _expected(self, said: dict[str, str], app: str) -> str:
        def digest(text: str) -> bytes:
            return hashlib.md5(text.encode()).digest()

        if self.scheme == "adobe":
            inner = base64.b64encode(digest(USER + SALT + self._password)).decode()
            return base64.b64encode(
                digest(inner + (OPAQUE if self._opaque else CHALLENGE) + said["challenge"])
            ).decode()
        path = app if "/" in app else f"{app}/_definst_"
        known, wanted = digest(f"{USER}:live:{self._password}").hex(), digest(f"publish:/{path}").hex()
        return digest(f"{known}:{NONCE}:{said['nc']}:{said['cnonce']}:auth:{wanted}").hex()


@contextmanager
def auth_server(scheme: str, password: str = PASSWORD, *, opaque: bool = True) -> Iterator[AuthServer]:
    server = AuthServer(scheme, password, opaque=opaque)
    try:
        yield server
    finally:
        server.close()


__all__ = ["PASSWORD", "USER", "AuthServer", "auth_server"]
