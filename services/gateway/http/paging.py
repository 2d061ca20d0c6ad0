"""Pages of a list: sorted by a time and the id, continued behind the last one shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Query

from services.gateway.http.problems import bad_field

T = TypeVar("T")
StartToken = Annotated[str | None, Query(max_length=200, description="`next_token` of the page before")]
PageSize = Annotated[int, Query(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items of a page, and the token of the next one."""

    items: list[T]
    next_token: str | None


class Paging:
    """The paging parameters of a list route."""

    def __init__(
        self,
        start_token: StartToken = None,
        page_size: PageSize = 10,
        sort: Annotated[Literal["created_at", "modified_at"], Query()] = "created_at",
        sort_dir: Annotated[Literal["asc", "desc"], Query()] = "desc",
    ) -> None:
        self.after = read_token(start_token) if start_token else None
        self.page_size = page_size
        self.sort = sort
        self.descending = sort_dir == "desc"

    def token(self, place: tuple[int, str] | None) -> str | None:
        """Give the token of the page behind a place."""
        return write_token(place) if place else None

    def apply(self, items: Iterable[T], place: Callable[[T], tuple[int, str]]) -> Page[T]:
        """Sort items by their place (time in ms, id) and cut the page out."""
        ordered = sorted(items, key=place, reverse=self.descending)
        if self.after is not None:
            after = self.after
            ordered = [i for i in ordered if (place(i) < after if self.descending else place(i) > after)]
        page = ordered[: self.page_size]
        more = len(ordered) > len(page)
        return Page(page, write_token(place(page[-1])) if more else None)


def write_token(place: tuple[int, str]) -> str:
    """Give the token of the page behind a place."""
    return base64.urlsafe_b64encode(f"{place[0]}:{place[1]}".encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Give the place behind which a page begins; ApiError 400."""
    try:
        text = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)).decode()
        time, ident = text.split(":", 1)
        return int(time), ident
    except (ValueError, binascii.Error) as error:
        raise bad_field("start_token", "is not one that a list has given") from error
