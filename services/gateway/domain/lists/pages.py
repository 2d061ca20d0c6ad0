"""Pages of a list: sorted by a time and the id, continued after the last item shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from services.gateway.domain.errors import invalid

T = TypeVar("T")
Position = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items of a page, and the token of the next one."""

    items: list[T]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Paging:
    """The requested page: what follows a position (time in ms, id), sorted by one of two times, in one direction."""

    after: Position | None = None
    page_size: int = 10
    sort: Literal["created_at", "modified_at"] = "created_at"
    descending: bool = True

    def token(self, position: Position | None) -> str | None:
        """Return the token of the page after a position; None without one."""
        return write_token(position) if position else None

    def apply(self, items: Iterable[T], position: Callable[[T], Position]) -> Page[T]:
        """Sort items by their position and return the page."""
        ordered = sorted(items, key=position, reverse=self.descending)
        if self.after is not None:
            after = self.after
            ordered = [i for i in ordered if (position(i) < after if self.descending else position(i) > after)]
        page = ordered[: self.page_size]
        more = len(ordered) > len(page)
        return Page(page, write_token(position(page[-1])) if more else None)


def write_token(position: Position) -> str:
    """Return the token of the page after a position."""
    return base64.urlsafe_b64encode(f"{position[0]}:{position[1]}".encode()).decode().rstrip("=")


def read_token(token: str) -> Position:
    """Return the position after which a page starts; Invalid."""
    try:
        text = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)).decode()
        time, ident = text.split(":", 1)
        return int(time), ident
    except (ValueError, binascii.Error) as error:
        raise invalid("start_token", "is not one that a list has given") from error
