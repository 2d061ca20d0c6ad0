"""Opening the store and the library that the settings name: the one module that knows every adapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.runtime.settings import Settings
from shared.store.base import MediaStore
from shared.store.library import Library
from shared.store.library_folder import FolderLibrary
from shared.store.library_store import StoreLibrary
from shared.store.local import LocalStore

if TYPE_CHECKING:
    from shared.store.s3 import S3Store

_S3: Final = "s3://"


def open_store(settings: Settings, *, hurried: bool = False) -> MediaStore:
    """Open the store of the settings; a `hurried` one times out within seconds. Permanent for `s3://` alone."""
    if settings.store.startswith(_S3):
        return _s3(settings, hurried=hurried)
    return LocalStore(Path(settings.store.removeprefix("file://")) if settings.store else settings.media_dir)


def open_library(settings: Settings, store: MediaStore) -> Library:
    """Return the library beside a store: on this machine's disk when the store is."""
    return FolderLibrary(settings.library_dir) if isinstance(store, LocalStore) else StoreLibrary(store)


def make_bucket(settings: Settings) -> str:
    """Make the store's bucket and return its name; empty when it exists or the store is a folder. ReelayError."""
    if not settings.store.startswith(_S3) or not _s3(settings).ensure_bucket():
        return ""
    return settings.store.removeprefix(_S3).partition("/")[0]


def _s3(settings: Settings, *, hurried: bool = False) -> S3Store:
    from shared.store.s3 import S3Store  # noqa: PLC0415  boto3 takes 0.3 s to import and is an extra

    return S3Store.open(settings.store, settings.data_dir / "spool", endpoint=settings.s3_endpoint, hurried=hurried)
