"""The makers of all types of destinations. An adapter adds its line here, and nothing else outside its own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from services.exporter.destinations.base import Destination, Maker, Order
from services.exporter.destinations.folder import FolderMaker
from services.exporter.destinations.ftp import FtpMaker
from services.exporter.destinations.http import HttpMaker
from services.exporter.destinations.library import LibraryMaker, Shelf
from services.exporter.destinations.library_folder import FolderShelf
from services.exporter.destinations.library_store import StoreShelf
from services.exporter.destinations.sftp import SftpMaker
from shared.messages.destinations import DestinationType
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.security.netguard.tls import trusting
from shared.store import MediaStore
from shared.store.local import LocalStore
from shared.store.reserve import Reserve

Makers = Mapping[DestinationType, Maker]


def open_shelf(settings: Settings, store: MediaStore) -> Shelf:
    """Return the library: a folder beside a local store, else a part of the store."""
    if isinstance(store, LocalStore):
        return FolderShelf(settings.library_dir, Reserve(settings.library_dir, settings.disk_reserve_bytes))
    return StoreShelf(store)


def makers(settings: Settings, shelf: Shelf) -> Makers:
    """Return what makes the destinations of each type; a type that is missing is refused for good."""
    folder = Path(settings.export_dir) if settings.export_dir else None
    allowed, tls, clock = settings.allowed_networks, trusting(settings.ca_file), SystemClock()
    return {
        "folder": FolderMaker(folder, Reserve(folder or Path(), settings.disk_reserve_bytes)),
        "ftp": FtpMaker(allowed, settings.ca_file),
        "http": HttpMaker.of(allowed, tls, clock),
        "library": LibraryMaker(shelf),
        "s3": _Later(lambda: _s3(settings)),
        "sftp": SftpMaker(allowed),
        "videocloud": _Later(lambda: _videocloud(settings)),
    }


class _Later:
    """A maker that is loaded with the first order: boto3 costs each start of an exporter a third of a second."""

    def __init__(self, load: Callable[[], Maker]) -> None:
        self._load = load
        self._maker: Maker | None = None

    def __call__(self, order: Order) -> Destination:
        """Return the destination."""
        self._maker = self._maker or self._load()
        return self._maker(order)


def _s3(settings: Settings) -> Maker:
    from services.exporter.destinations.s3 import S3Maker  # noqa: PLC0415  boto3 takes 0.3 s to import

    return S3Maker.of(settings.allowed_networks, trusting(settings.ca_file))


def _videocloud(settings: Settings) -> Maker:
    from services.exporter.destinations.videocloud import VideoCloudMaker, Waits  # noqa: PLC0415  boto3 takes 0.3 s to import
    from services.exporter.destinations.videocloud_api import Bases  # noqa: PLC0415  boto3 takes 0.3 s to import

    bases = Bases(settings.videocloud_oauth_url, settings.videocloud_cms_url, settings.videocloud_ingest_url)
    waits = Waits(whole=settings.videocloud_wait)
    made = VideoCloudMaker.of(settings.allowed_networks, trusting(settings.ca_file), SystemClock(), bases, waits)
    return replace(made, bucket_endpoint=settings.videocloud_bucket_url)
