"""Asks a service whether it is ready (shared/runtime/health.py answers)."""

from __future__ import annotations

import asyncio
import contextlib

REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ready(host: str, port: int) -> bool:
    """Return whether GET /readyz answers 200 within 2 s."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(REQUEST)
                status = await reader.readline()
            finally:
                writer.close()
        return status.split(b" ")[1:2] == [b"200"]
    return False
