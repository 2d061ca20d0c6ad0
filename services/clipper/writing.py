"""Writing a clip's file: as it is cut or, when that was asked for, encrypted afterwards."""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from services.clipper.cutting import CutResult
from services.clipper.movie.encrypt import encrypt_movie
from shared.errors import Rejected
from shared.media.cenc.key import ContentKey
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.errors import CutError, Stopped
from shared.messages.clips import ENCRYPTION_PURPOSE, ClipEncryption
from shared.security.secrets import SecretUnreadable, Vault
from shared.store import StoreFull


def content_key(vault: Vault | None, asked: ClipEncryption | None) -> ContentKey | None:
    """Return the key of a clip's file; None for a clear one. Rejected when it cannot be opened."""
    if asked is None:
        return None
    if vault is None:
        raise Rejected("this clipper has no SECRET_KEY to open the clip's key with")
    try:
        return ContentKey(bytes.fromhex(asked.kid), bytes.fromhex(vault.decrypt(asked.key, ENCRYPTION_PURPOSE)))
    except SecretUnreadable as error:
        raise Rejected("the clip's key cannot be read with this SECRET_KEY: ask for the clip again") from error


@contextlib.contextmanager
def room_for_it() -> Iterator[None]:
    """Raise StoreFull where the block's OSError says that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StoreFull("no room is left in the store") from error


def written(out: Path, key: ContentKey | None, stop: threading.Event, cut: Callable[[Path], CutResult]) -> CutResult:
    """Cut to a file, which is not there after an error; with a key, to a draft that is deleted once it is encrypted.

    Stopped, CutError, StoreFull, OSError.
    """
    with room_for_it(), contextlib.ExitStack() as failing:
        failing.callback(out.unlink, missing_ok=True)
        result = cut(out) if key is None else _encrypted(out, key, stop, cut)
        failing.pop_all()
        return result


def _encrypted(out: Path, key: ContentKey, stop: threading.Event, cut: Callable[[Path], CutResult]) -> CutResult:

    def tick(_: int) -> None:
        if stop.is_set():
            raise Stopped("stopped while encrypting")

    draft = out.with_name(f".clear.{secrets.token_hex(4)}.part")  # named as what a killed clipper leaves
    try:
        result = cut(draft)
        made = encrypt_movie(draft, out, key, tick)
    except Mp4Error as error:
        raise CutError(f"clip cannot be encrypted: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return replace(result, path=out, bytes=made.bytes, sha256=made.sha256)
