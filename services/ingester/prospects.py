"""Ending streams that contain nothing that can be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

from services.ingester.publication import Batch, Contents, NothingRecordable, NotMedia
from services.ingester.recorder.names import is_media
from shared.runtime.clock import Clock, to_ns

HOPELESS: Final = timedelta(seconds=3)
"""How long a container that names only unsupported tracks may take to name others."""
UNDECIDED: Final = 16 << 20
"""A stream ends after so many bytes without a frame."""


def hopeful(batches: Iterable[Batch], clock: Clock | None = None, undecided: int = UNDECIDED) -> Iterator[Batch]:
    """Yield the batches; raise NothingRecordable or NotMedia when they contain no frame, and will not.

    Without a `clock`, a stream that names only unsupported tracks is given up only at its end.
    """
    given, since_ns, contents = 0, None, Contents()
    rest, hopeless_ns = iter(batches), to_ns(HOPELESS)
    for batch in rest:
        is_framed = bool(batch.frames)
        contents, given = batch.contents, given + batch.bytes
        yield batch
        if is_framed:
            yield from rest
            return
        if given >= undecided:
            raise _given_up(contents)
        if clock is None or not _is_hopeless(contents):
            since_ns = None
            continue
        now_ns = clock.monotonic_ns()
        since_ns = since_ns or now_ns
        if now_ns - since_ns >= hopeless_ns:
            raise _given_up(contents)
    if _is_hopeless(contents):
        raise _given_up(contents)


def _is_hopeless(contents: Contents) -> bool:
    """Return whether tracks are named, and none that is expected can be recorded."""
    return not contents.expected and any(map(is_media, contents.unsupported))


def _given_up(contents: Contents) -> NotMedia:
    """Return the error with which a stream is given up."""
    if contents.unsupported:
        return NothingRecordable(contents.unsupported)
    return NotMedia("no track that can be recorded")
