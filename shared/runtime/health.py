"""GET /healthz (the process runs) and GET /readyz (it can do its work) on REELAY_HEALTH_PORT."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

Probe = Callable[[], Awaitable[dict[str, str]]]
Notes = Callable[[], dict[str, str]]
PATIENCE: Final = timedelta(seconds=5)
_LONGEST_REQUEST: Final = 8192


def standing(said: Mapping[str, str], *, failed: bool) -> str:
    """Return the status of the health format; notes without a failure are a warning."""
    return "fail" if failed else "warn" if said else "pass"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ready: Probe, notes: Notes) -> None:
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ", 2)[1] if request.count(b" ") >= 2 else b""
            faults = await ready() if path == b"/readyz" else {}
            known = path in {b"/healthz", b"/readyz"}
            status = "404 Not Found" if not known else "503 Service Unavailable" if faults else "200 OK"
            said = {**(notes() if path == b"/readyz" else {}), **faults}
            body = json.dumps({"status": standing(said, failed=bool(faults) or not known), **said}).encode()
            fields = f"Content-Type: application/health+json\r\nContent-Length: {len(body)}\r\nConnection: close"
            head = f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a prober that does not speak HTTP gets no answer
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def health_server(host: str, port: int, ready: Probe, notes: Notes = dict) -> AsyncIterator[None]:
    """Answer probes while the block runs. Port 0: no server.

    `ready` returns faults by part; `notes` returns problems that do not stop the service.
    """
    if port == 0:
        yield
        return
    server = await asyncio.start_server(lambda r, w: _answer(r, w, ready, notes), host, port, limit=_LONGEST_REQUEST)
    async with server:
        yield
