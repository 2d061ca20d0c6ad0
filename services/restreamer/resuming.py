"""Finds where a run starts: at its list's start, its holder's last position, or where an earlier run was stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.messages.restreams import Item, PlaylistCursor, PlayoutRecord, RestreamRecord, Source
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url

PURPOSE = "restream-source"


def mark(vault: Vault, source: Source) -> str:
    """Return a keyed hash that identifies a source, however its URL is sealed; "": unreadable."""
    try:
        return vault.sign(f"{source.kind} {open_url(vault, source.location)}", PURPOSE)
    except SecretUnreadable:
        return ""


def beginning(record: RestreamRecord, last: PlayoutRecord | None, marks: Callable[[], Sequence[str]]) -> PlaylistCursor:
    """Return the position that a holder starts at; `marks` returns the marks of the record's items."""
    first = PlaylistCursor(item=record.spec.first if record.spec.first < len(record.spec.items) else 0)
    if last is None or last.run < record.chain:
        return first
    if last.run == record.run and last.spec_number == record.spec_number:
        return last.cursor
    if last.run == record.run and not record.wait_current:
        return first  # the list was changed without waiting for the file's end while nobody played
    return _found(record, last, marks()) or first


def _found(record: RestreamRecord, last: PlayoutRecord, marks: Sequence[str]) -> PlaylistCursor | None:
    """Find the file that played in a new list: at its index, or the first of the same source; None: it is gone."""
    old, spec = last.cursor, record.spec
    if not last.source or last.source not in marks:
        return None
    item = old.item if old.item < len(marks) and marks[old.item] == last.source else marks.index(last.source)
    loop = min(old.loop, spec.loops - 1) if spec.loops else old.loop
    number = _range(spec.items[item], old)
    return (
        PlaylistCursor(item=item, loop=loop)
        if number is None
        else PlaylistCursor(item=item, range=number, loop=loop, at=old.at)
    )


def _range(item: Item, old: PlaylistCursor) -> int | None:
    """Find the range that contains a position, its own range first; None when there is none."""
    if not item.ranges:
        return 0
    numbers: list[int] = [old.range, *range(len(item.ranges))]
    for number in numbers:
        if number < len(item.ranges):
            part = item.ranges[number]
            begun = number == old.range or part.start <= old.at
            if part.clock == "wall" or (begun and (part.end is None or old.at <= part.end)):
                return number
    return None
