"""Brightcove's query parameters of lists: `created_at=gt:<ms>`, `state=[a,b]`, `label='first'`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Annotated, Final, Literal, get_args

from fastapi import Query

from services.gateway.domain.clips.clips import KnownClip
from services.gateway.domain.errors import invalid
from services.gateway.domain.lists.lists import (
    CLIP_JOB,
    CLIP_LABEL,
    CLIP_STATE,
    CLIP_TYPE,
    JOB_STATE,
    JOB_STATIC,
    STATIC,
)
from services.gateway.domain.lists.orders import ALL_TIME, ListRow, Span, Wanted
from services.gateway.domain.lists.pages import Paging, read_token
from shared.messages.clips import VodState
from shared.messages.destinations import DestinationType
from shared.messages.live import JobState

Given = Annotated[list[str] | None, Query(max_length=20)]
_LONGEST: Final = 8192
_BOUND: Final = re.compile(r"(?:(gt|ge|lt|le):)?([0-9]{1,15})")
_ITEM: Final = re.compile(r"""\s*+(?:'([^']*)'|"([^"]*)"|([^,'"\[\]]*[^,'"\[\]\s]))\s*+(,|$)""")
_NOT_A_TIME: Final = "must be ms since the epoch, after gt:, ge:, lt: or le: for a range"
_NOT_VALUES: Final = "must be a value, or [a,b,...]; strings may stand in quotes"


def values(name: str, given: Iterable[str] | None) -> frozenset[str] | None:
    """Return the values of which a field has one, None without the parameter; Invalid."""
    found: set[str] = set()
    asked = False
    for text in given or ():
        asked = True
        if len(text) > _LONGEST:
            raise invalid(name, "is too long")
        found |= set(_items(name, text[1:-1] if text.startswith("[") and text.endswith("]") else text))
    return frozenset(found) if asked else None


def _items(name: str, text: str) -> Iterable[str]:
    at = 0
    while True:
        item = _ITEM.match(text, at)
        if item is None:
            raise invalid(name, _NOT_VALUES)
        yield next(part for part in item.groups()[:3] if part is not None)
        if not item[4]:
            return
        at = item.end()


def one_of(name: str, given: Iterable[str] | None, known: Collection[str]) -> frozenset[str] | None:
    """Return what `values` does; Invalid for values that are not known."""
    found = values(name, given)
    if unknown := sorted((found or frozenset()) - frozenset(known)):
        raise invalid(name, f"must be one of {', '.join(known)}; {unknown[0][:64]!r} is none")
    return found


def span(name: str, given: Iterable[str] | None) -> Span:
    """Return the times that all the bounds allow, ends included; Invalid."""
    first, last = ALL_TIME
    for text in given or ():
        bound = _BOUND.fullmatch(text.strip("'\""))
        if bound is None:
            raise invalid(name, _NOT_A_TIME)
        kind, at = bound[1], int(bound[2])
        if kind in {"gt", "ge", None}:
            first = max(first, at + (kind == "gt"))
        if kind in {"lt", "le", None}:
            last = min(last, at - (kind == "lt"))
    return first, last


class AskedListing:
    """The parameters that all lists have."""

    def __init__(
        self,
        start_token: Annotated[str | None, Query(max_length=200)] = None,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 10,
        sort: Annotated[Literal["created_at", "modified_at"], Query()] = "created_at",
        sort_dir: Annotated[Literal["asc", "desc"], Query()] = "asc",
        created_at: Given = None,
        modified_at: Given = None,
    ) -> None:
        self.start_token = start_token
        after = read_token(start_token) if start_token else None
        self.paging = Paging(after, page_size, sort, sort_dir == "desc")
        self.created = span("created_at", created_at)
        self.changed = span("modified_at", modified_at)


class AskedOwner:
    """The parameters that name whose things are listed: a key lists those of its own account."""

    def __init__(
        self,
        user_id: Given = None,
        account_id: Given = None,
    ) -> None:
        self._named = (values("user_id", user_id), values("account_id", account_id))

    def includes(self, account: str) -> bool:
        """Return whether the account's own things are asked for."""
        return all(named is None or named & {account, "*"} for named in self._named)


class JobFilter(AskedOwner):
    """The filter parameters of the list of jobs."""

    def __init__(
        self,
        user_id: Given = None,
        account_id: Given = None,
        state: Given = None,
        static: Annotated[bool | None, Query()] = None,
        ssai_state: Given = None,
        ad_insertion: Annotated[bool | None, Query()] = None,
        region: Given = None,
    ) -> None:
        super().__init__(user_id, account_id)
        if region is not None:
            raise invalid("region", "is no filter here: an installation has one region")
        self._state = one_of("state", state, get_args(JobState))
        self._static = static
        self._ads = (values("ssai_state", ssai_state) or {"none"}) if not ad_insertion else frozenset[str]()

    def includes(self, account: str) -> bool:
        """Return whether any of the account's jobs is asked for: none has advertisements inserted."""
        return super().includes(account) and "none" in self._ads

    def wanted(self, asked: AskedListing) -> Wanted:
        """Return the filters for the ordered list."""
        several: dict[int, frozenset[str | None]] = {}
        if self._static is not None:
            several[JOB_STATIC] = frozenset({STATIC if self._static else None})
        facets: dict[int, str] = {}
        _add(facets, several, JOB_STATE, self._state)
        return Wanted(facets, asked.created, asked.changed, any_of=several)


class ClipFilter(AskedOwner):
    """The filter parameters of lists of clips."""

    def __init__(
        self,
        user_id: Given = None,
        account_id: Given = None,
        jvod_state: Given = None,
        jvod_type: Given = None,
        label: Given = None,
    ) -> None:
        super().__init__(user_id, account_id)
        self._state = one_of("jvod_state", jvod_state, get_args(VodState))
        self._type = one_of("jvod_type", jvod_type, (*get_args(DestinationType), "instant", "error"))
        self._label = values("label", label)

    def wanted(self, asked: AskedListing, job: str | None = None) -> Wanted:
        """Return the filters for the ordered list, of one job's clips if it is given."""
        several: dict[int, frozenset[str | None]] = {}
        facets = {} if job is None else {CLIP_JOB: job}
        for facet, found in ((CLIP_STATE, self._state), (CLIP_TYPE, self._type), (CLIP_LABEL, self._label)):
            _add(facets, several, facet, found)
        return Wanted(facets, asked.created, asked.changed, any_of=several)


def takes(wanted: Wanted, known: KnownClip) -> bool:
    """Return whether a clip that is in no list yet passes its filters."""
    request = known.request
    kind = "instant" if request.instant else request.destinations[0].type
    facets = (known.state, request.event, request.label, kind)
    return wanted.takes(ListRow(request.clip, known.created_ms, known.changed_ms, facets))


def _add(
    facets: dict[int, str], several: dict[int, frozenset[str | None]], facet: int, found: frozenset[str] | None
) -> None:
    """Add a filter: one value is looked up in the list's index, several are compared."""
    if found is not None and len(found) == 1:
        facets[facet] = next(iter(found))
    elif found is not None:
        several[facet] = frozenset[str | None](found)
