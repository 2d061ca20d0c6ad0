"""Unauthenticated peers: identify, count and limit them, in tables of bounded size.

Servers count unauthenticated peers by network, so that a peer with many addresses counts once: an IPv6 subscriber has
a /64 (RFC 6177), an IPv4 subscriber an address, which many may share (NAT). So no network is shut out as a whole: its
oldest waiting peer makes room, and budgets are kept per thing that a peer tries, not per network.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Hashable
from datetime import timedelta
from typing import Final, Generic, TypeVar

from shared.runtime.clock import Clock

G = TypeVar("G", bound=Hashable)
MOST_KEYS: Final = 4096


def network_of(address: str) -> str:
    """Return the network that an address counts for: the IPv4 address itself, the /64 of IPv6, other text unchanged."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(ip) >> 64 << 64)) + "/64"


class Waiting(Generic[G]):
    """Waiting peers, at most `most` and `most_each` per network; not thread-safe.

    A new peer is always admitted: past a limit, the oldest peer of the busiest network has to go.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._all: OrderedDict[G, str] = OrderedDict()  # oldest first
        self._networks: dict[str, OrderedDict[G, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, peer: object) -> bool:
        return peer in self._all

    def add(self, peer: G, network: str) -> G | None:
        """Add a peer as the newest one; return the peer that has to go for it, if any."""
        self.remove(peer)
        self._all[peer] = network
        group = self._networks.setdefault(network, OrderedDict())
        group[peer] = None
        if len(group) > self._most_each:
            return self._take(next(iter(group)))
        return self.make_room() if len(self._all) > self._most else None

    def remove(self, peer: G) -> None:
        """Remove a peer, if it waits."""
        if peer in self._all:
            self._take(peer)

    def make_room(self) -> G | None:
        """Remove and return the oldest peer of the busiest network; None when no peer waits."""
        if not self._all:
            return None
        busiest = max(self._networks.values(), key=len)
        return self._take(next(iter(busiest if len(busiest) > 1 else self._all)))

    @property
    def busiest(self) -> int:
        """How many peers the busiest network has."""
        return max(map(len, self._networks.values()), default=0)

    def everyone(self) -> list[G]:
        """Return all peers, the oldest first."""
        return list(self._all)

    def _take(self, peer: G) -> G:
        network = self._all.pop(peer)
        group = self._networks[network]
        del group[peer]
        if not group:
            del self._networks[network]
        return peer


class Budget:
    """One token bucket per key: `most` at once, then one more every `regained`. Thread-safe.

    The table is bounded: the least recently used key is dropped first, and keys whose buckets are full again are
    dropped, too.
    """

    def __init__(self, most: int, regained: timedelta, clock: Clock, *, keys: int = MOST_KEYS) -> None:
        self._most = most
        self._regain_ns = max(1, regained // timedelta(microseconds=1) * 1000)
        self._clock = clock
        self._keys = keys
        self._spent: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # key -> (taken, since in ns)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._spent)

    def spent(self, key: Hashable) -> bool:
        """Return whether no token is left for now."""
        with self._lock:
            return self._now(key)[0] >= self._most

    def take(self, key: Hashable) -> bool:
        """Take a token; return False when none is left."""
        with self._lock:
            count, since = self._now(key)
            if count >= self._most:
                return False
            self._put(key, count + 1, since)
            return True

    def charge(self, key: Hashable) -> bool:
        """Take a token even when none is left; return True when it was the last one."""
        with self._lock:
            count, since = self._now(key)
            self._put(key, min(count + 1, self._most), since)
            return count + 1 == self._most

    def wait(self, key: Hashable) -> timedelta:
        """Return how long it takes until a token is available."""
        with self._lock:
            count, since = self._now(key)
            if count < self._most:
                return timedelta()
            return timedelta(microseconds=-(-(since + self._regain_ns - self._clock.monotonic_ns()) // 1000))

    def _put(self, key: Hashable, count: int, since: int) -> None:
        self._spent[key] = (count, since)
        self._spent.move_to_end(key)
        for old in self._oldest(2):  # full buckets are dropped as fast as keys are added
            if len(self._spent) > self._keys or self._now(old)[0] == 0:
                del self._spent[old]

    def _oldest(self, count: int) -> list[Hashable]:
        return [key for key, _ in zip(self._spent, range(count), strict=False)]

    def _now(self, key: Hashable) -> tuple[int, int]:
        now = self._clock.monotonic_ns()
        count, since = self._spent.get(key, (0, now))
        back = (now - since) // self._regain_ns
        if back >= count:
            return 0, now
        return count - back, since + back * self._regain_ns
