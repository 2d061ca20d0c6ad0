"""Peers that nobody knows yet: how they are told apart, counted, and made to wait, in tables that cannot grow.

What serves strangers counts them by network, so that one who has many addresses is one: an IPv6 subscriber has a /64
(RFC 6177), an IPv4 one an address, which many may share (NAT). So a network alone is never shut out: its oldest
stranger makes room, and budgets are kept for what a stranger tries, not for where it sits.
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
    """Return the network that an address is counted under: IPv4 as it is, the /64 of IPv6; other text as it is."""
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
    """Peers that we wait for, at most `most` and `most_each` of a network; not for use by several threads at once.

    Nobody is turned away for those who wait already: past a bound, the oldest of the busiest network goes.
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
        """Let a peer wait, as the newest one; return the one that has to go for it."""
        self.remove(peer)
        self._all[peer] = network
        group = self._networks.setdefault(network, OrderedDict())
        group[peer] = None
        if len(group) > self._most_each:
            return self._take(next(iter(group)))
        return self.make_room() if len(self._all) > self._most else None

    def remove(self, peer: G) -> None:
        """Forget a peer, if it waits."""
        if peer in self._all:
            self._take(peer)

    def make_room(self) -> G | None:
        """Return and forget the oldest peer of the busiest network; None when nobody waits."""
        if not self._all:
            return None
        busiest = max(self._networks.values(), key=len)
        return self._take(next(iter(busiest if len(busiest) > 1 else self._all)))

    @property
    def busiest(self) -> int:
        """How many the network has that has most of them."""
        return max(map(len, self._networks.values()), default=0)

    def everyone(self) -> list[G]:
        """Return all, the oldest first."""
        return list(self._all)

    def _take(self, peer: G) -> G:
        network = self._all.pop(peer)
        group = self._networks[network]
        del group[peer]
        if not group:
            del self._networks[network]
        return peer


class Budget:
    """A token bucket a key: `most` at once, then one each `regained`; from any thread.

    The table is bounded: the key unused for longest is forgotten first, and it forgets by itself what is full again.
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
        """Tell whether nothing is left for now."""
        with self._lock:
            return self._now(key)[0] >= self._most

    def take(self, key: Hashable) -> bool:
        """Take one; False when there is none left."""
        with self._lock:
            count, since = self._now(key)
            if count >= self._most:
                return False
            self._put(key, count + 1, since)
            return True

    def charge(self, key: Hashable) -> bool:
        """Take one, be there any or not; True when it is the last one."""
        with self._lock:
            count, since = self._now(key)
            self._put(key, min(count + 1, self._most), since)
            return count + 1 == self._most

    def wait(self, key: Hashable) -> timedelta:
        """Tell how long it takes until there is one."""
        with self._lock:
            count, since = self._now(key)
            if count < self._most:
                return timedelta()
            return timedelta(microseconds=-(-(since + self._regain_ns - self._clock.monotonic_ns()) // 1000))

    def _put(self, key: Hashable, count: int, since: int) -> None:
        self._spent[key] = (count, since)
        self._spent.move_to_end(key)
        for old in self._oldest(2):  # as fast as they come, those that are full again go
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
