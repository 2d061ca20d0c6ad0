"""The query parameters of a list's page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query

from services.gateway.domain.lists.pages import Paging, read_token

StartToken = Annotated[str | None, Query(max_length=200, description="`next_token` of the page before")]
PageSize = Annotated[int, Query(ge=1, le=1000)]


async def asked_page(
    start_token: StartToken = None,
    page_size: PageSize = 10,
    sort: Annotated[Literal["created_at", "modified_at"], Query()] = "created_at",
    sort_dir: Annotated[Literal["asc", "desc"], Query()] = "desc",
) -> Paging:
    """Return the requested page; Invalid when the token does not come from a list."""
    return Paging(read_token(start_token) if start_token else None, page_size, sort, sort_dir == "desc")


AskedPage = Annotated[Paging, Depends(asked_page)]
