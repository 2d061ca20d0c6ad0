"""Keeps secrets out of what servers said: they may send back, or be made to send back, what they were given."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

MASK: Final = "***"
LEAST: Final = 4
"""Values that are shorter are no secrets, and are found in any text."""
_LEAST_OF_QUERY: Final = 6  # many values of queries are plain words


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the secrets, in whatever form URLs, JSON and HTML have them."""
    forms = {form for secret in secrets if len(secret) >= LEAST for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
        text = text.replace(form, MASK)
    return text


def of_login(user: str, password: str) -> tuple[str, ...]:
    """Return the secrets of a login: the password, and the pair as Basic (RFC 7617) has it."""
    return (password, base64.b64encode(f"{user}:{password}".encode()).decode()) if password else ()


def of_query(url: str) -> tuple[str, ...]:
    """Return what may be secret in a URL's query: it may be signed, or hold a token."""
    query = urlsplit(url).query
    raw = (pair.partition("=")[2] for pair in query.split("&"))
    values = (query, *raw, *(value for _, value in parse_qsl(query)))
    return tuple(value for value in values if len(value) >= _LEAST_OF_QUERY)


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret),
            json.dumps(secret)[1:-1], " ".join(secret.split())}  # fmt: skip
