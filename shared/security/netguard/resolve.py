"""Name look-ups that return only addresses that may be reached."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from shared.errors import DestinationFailed, Unavailable
from shared.security.netguard.addresses import HOW_TO_ALLOW, Address, AddressRefused, Networks, is_reachable

LOOKUP_TIMEOUT: Final = timedelta(seconds=5)
MOST_ADDRESSES: Final = 8
LEAST: Final = timedelta(milliseconds=50)
Lookup = Callable[[str, int], Awaitable[list[str]]]
# A look-up blocks its thread for as long as the name server takes; look-ups have their own threads, so that nothing
# else waits for them, and daemon threads, so that the process can end.
_threads = threading.BoundedSemaphore(256)


async def resolve_checked(
    host: str, port: int, *, allowed: Networks, lookup: Lookup | None = None, within: timedelta = LOOKUP_TIMEOUT
) -> tuple[Address, ...]:
    """Return a host's addresses that may be reached, in the resolver's order; connect to these, never to the name.

    Raise AddressRefused when there are only others, DestinationFailed when the name is not found.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            found = [host] if is_address(host) else await (lookup or system_lookup)(host, port)
    except TimeoutError as error:
        raise DestinationFailed(f"{host}: the name look-up took too long") from error
    except (OSError, UnicodeError) as error:
        raise DestinationFailed(f"{host}: the name was not found") from error
    return keep_reachable(host, found, allowed)


def keep_reachable(host: str, found: Iterable[str], allowed: Networks) -> tuple[Address, ...]:
    """Return a host's addresses that may be reached; raise AddressRefused when there are only others."""
    networks = tuple(allowed)
    addresses = dict.fromkeys(ipaddress.ip_address(text) for text in found)
    reachable = tuple(address for address in addresses if is_reachable(address, networks))
    if not reachable:
        raise AddressRefused(f"{host} has no address that may be reached from here; {HOW_TO_ALLOW}")
    return reachable[:MOST_ADDRESSES]


def shares(addresses: Sequence[Address], end: float, clock: Callable[[], float]) -> Iterator[tuple[Address, float]]:
    """Yield each address and the time that it may take (s): an equal share of what is left until `end` (`clock`, s)."""
    for number, address in enumerate(addresses):
        yield address, max(end - clock(), LEAST.total_seconds()) / (len(addresses) - number)


def is_address(host: str) -> bool:
    """Return whether a host is written as an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def system_lookup(host: str, port: int) -> list[str]:
    """Return the system resolver's addresses; raise OSError if not found, Unavailable if too many look-ups hang."""
    if not _threads.acquire(blocking=False):
        raise Unavailable("too many name look-ups hang")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(result: list[str] | OSError | UnicodeError) -> None:
        if answer.done():
            return
        if isinstance(result, list):
            answer.set_result(result)
        else:
            answer.set_exception(result)

    def ask() -> None:
        result: list[str] | OSError | UnicodeError
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result = [str(row[4][0]) for row in rows]
        except (OSError, UnicodeError) as error:
            result = error
        finally:
            _threads.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=ask, name="name-lookup", daemon=True).start()
    return await answer
