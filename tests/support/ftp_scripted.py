"""An FTP server that keeps files in memory and answers as a test tells it to: what no real server can be made to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = str | Callable[["ScriptedFtp", str], str | None]


@dataclass
class ScriptedFtp:
    """`answers` come before its own, by command; an empty one closes the connection."""

    answers: dict[str, Answer] = field(default_factory=dict)
    greeting: bytes = b"220 ready\r\n"
    endless: bytes = b""
    """Sent for ever instead of the greeting."""
    tls: ssl.SSLContext | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connected: int = 0
    port: int = 0
    _data: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=asyncio.Queue)
    _offset: int = 0
    _from: str = ""

    def words(self) -> list[str]:
        return [line.split(" ")[0] for line in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while self.endless:
                writer.write(self.endless)
                await writer.drain()
            writer.write(self.greeting)
            while line := await reader.readline():
                text = line.decode().rstrip("\r\n")
                self.asked.append(text)
                word, _, rest = text.partition(" ")
                given = self.answers.get(word)
                answer = given(self, rest) if callable(given) else given
                if answer is None:
                    answer = await self._answer(word, rest, writer)
                if not answer:
                    break
                writer.write(answer.encode("latin-1") + b"\r\n")
                await writer.drain()
        writer.close()

    async def _answer(self, word: str, rest: str, writer: asyncio.StreamWriter) -> str:
        simple = {
            "USER": "331 password", "PASS": "230 welcome",
            "FEAT": "211-has\r\n UTF8\r\n SIZE\r\n REST STREAM\r\n211 end",
            "OPTS": "200 on", "TYPE": "200 ok", "CWD": "250 ok", "CDUP": "250 ok", "NOOP": "200 ok", "MKD": "257 made",
            "QUIT": "", "EPSV": f"229 here (|||{self.passive}|)",
        }  # fmt: skip
        while word == "EPSV" and not self._data.empty():  # of a transfer that was refused
            self._data.get_nowait()[1].close()
        if word in simple:
            return simple[word]
        method = getattr(self, f"_{word.lower()}", None)
        return await method(rest, writer) if method else "502 unknown"

    async def _size(self, name: str, _writer: asyncio.StreamWriter) -> str:
        return f"213 {len(self.files[name])}" if name in self.files else "550 no such file"

    async def _rest(self, offset: str, _writer: asyncio.StreamWriter) -> str:
        self._offset = int(offset)
        return "350 go on"

    async def _dele(self, name: str, _writer: asyncio.StreamWriter) -> str:
        return "250 gone" if self.files.pop(name, None) is not None else "550 no such file"

    async def _rnfr(self, name: str, _writer: asyncio.StreamWriter) -> str:
        self._from = name
        return "350 go on" if name in self.files else "550 no such file"

    async def _rnto(self, name: str, _writer: asyncio.StreamWriter) -> str:
        self.files[name] = self.files.pop(self._from)
        return "250 renamed"

    async def _stor(self, name: str, writer: asyncio.StreamWriter) -> str:
        writer.write(b"150 go\r\n")
        reader, data = await self._data.get()
        offset, self._offset = self._offset, 0
        self.files[name] = self.files.get(name, b"")[:offset] + await reader.read()
        data.close()
        return "226 stored"

    async def _appe(self, name: str, writer: asyncio.StreamWriter) -> str:
        self._offset = len(self.files[name])
        return await self._stor(name, writer)

    async def _retr(self, name: str, writer: asyncio.StreamWriter) -> str:
        writer.write(b"150 go\r\n")
        _, data = await self._data.get()
        offset, self._offset = self._offset, 0
        with suppress(OSError):
            data.write(self.files[name][offset:])
            await data.drain()
        data.close()
        return "226 sent"

    async def arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        await self._data.put((reader, writer))

    passive: int = 0


@asynccontextmanager
async def scripted_ftp(server: ScriptedFtp) -> AsyncIterator[ScriptedFtp]:
    """Serve on a free port."""
    tasks = set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(server.serve(reader, writer)))

    control = await asyncio.start_server(accept, "127.0.0.1", 0)
    data = await asyncio.start_server(server.arrived, "127.0.0.1", 0)
    server.port, server.passive = (each.sockets[0].getsockname()[1] for each in (control, data))
    try:
        yield server
    finally:
        control.close()
        data.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
