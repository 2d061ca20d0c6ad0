"""A cache of finished playlists, so that many players of one event cost one rendering."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

MOST_BYTES: Final = 64 << 20
WORTH_PACKING: Final = 4096


@dataclass(frozen=True, slots=True)
class Body:
    """A playlist's bytes, also compressed when that is worth it, and its entity tag."""

    plain: bytes
    packed: bytes | None
    tag: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.plain) + len(self.packed or b"")


def make_body(text: str) -> Body:
    """Encode a playlist; blocks for about 10 ms when it has megabytes."""
    plain = text.encode()
    packed = gzip.compress(plain, 5, mtime=0) if len(plain) >= WORTH_PACKING else None
    return Body(plain, packed, f'"{hashlib.sha256(plain).hexdigest()[:32]}"')


class Bodies:
    """The most recently used bodies, each with the stamp of the state that it was made from."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        # a body that is larger than the limit is kept, too, as the only one
        self._kept: LRUCache[Hashable, tuple[Hashable, Body]] = LRUCache(
            most_bytes, lambda kept: min(kept[1].size, most_bytes)
        )

    async def get(self, key: Hashable, stamp: Hashable, make: Callable[[], Awaitable[Body]]) -> Body:
        """Return the body of a key, made anew when the stamp has changed."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        body = await make()
        self._kept[key] = (stamp, body)
        return body
