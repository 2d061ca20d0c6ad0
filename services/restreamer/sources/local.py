"""Open files of the library and clips, from Reelay's own store or from this machine."""

from __future__ import annotations

import os
import re
import stat
from threading import Event
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Access
from services.restreamer.sources.origins.files import BlockFile, LocalFile, Readable
from services.restreamer.sources.origins.origin import StoreOrigin
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.clips import ClipRecord
from shared.messages.restreams import Source
from shared.store.base import check_key
from shared.store.library import NAME, library_key
from shared.store.local import LocalStore

ID: Final = re.compile(r"[0-9a-f]{32}")


def local_file(source: Source, location: str, access: Access, stop: Event) -> Readable:
    """Open a file of the library, or a clip's current file."""
    if source.kind == "library":
        if not NAME.fullmatch(location):
            raise SourceError("there is no such file in the library")
        if not isinstance(access.store, LocalStore):
            missing = "there is no such file in the library"
            origin = StoreOrigin(access.store, library_key(access.account, location), access.limits, stop, missing)
            return BlockFile(origin, access.limits)
        return LocalFile(_open(access.library / access.account / location, "there is no such file in the library"))
    clips, key = Bucket(access.js, buckets.CLIPS, ClipRecord), f"{access.account}.{checked_id(location)}"
    found = access.ask(lambda _: clips.get(key), stop)
    if found is None:
        raise SourceError("there is no such clip")
    if found.value.file is None:
        raise SourceError("the clip has no file yet", lasting=found.value.state in {"failed", "cancelled", "error"})
    if found.value.request.encryption is not None:
        raise SourceError("the clip is encrypted")
    key = check_key(found.value.file.key)
    if isinstance(access.store, LocalStore):
        return LocalFile(_open(access.store.path(key), "the clip's file is gone"))
    return BlockFile(StoreOrigin(access.store, key, access.limits, stop), access.limits)


def _open(path: os.PathLike[str], otherwise: str) -> int:
    """Open a regular file, not following a symbolic link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(otherwise) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SourceError(otherwise)
    return handle


def checked_id(text: str) -> str:
    """Return `text` if it is an id; raise SourceError otherwise."""
    if not ID.fullmatch(text):
        raise SourceError("an id has 32 hex digits")
    return text
