"""URLs that users name for us to call."""

from __future__ import annotations

from typing import Final

from services.gateway.http.problems import bad_field
from shared.errors import Rejected
from shared.netguard import check_url
from shared.settings import Settings

SCHEMES: Final = frozenset({"http", "https"})


def receiver_url(field: str, url: str, settings: Settings) -> str:
    """Give a webhook receiver's URL in its one spelling; ApiError 400 names the field when it may not be called."""
    try:
        return check_url(url, schemes=SCHEMES, allowed=settings.allowed_networks).url
    except Rejected as error:
        raise bad_field(field, str(error)) from error
