"""Opens sources in tests, and checks what is read from them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from threading import Event

import av

from services.restreamer.model import FLICKS, Media, Packet, Track
from services.restreamer.sources import Access, Limits, open_media
from services.restreamer.sources.apart.children import children
from services.restreamer.sources.apart.wire import Order
from services.restreamer.sources.containers.sniff import Container
from shared.messages.restreams import Source
from shared.runtime.clock import SystemClock
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from shared.store.local import LocalStore
from tests.support.framecode import read_number
from tests.support.framecode_record import Spec, encode

ACCOUNT = "main"
LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
QUICK = Limits(patience=timedelta(seconds=1), pause=timedelta(milliseconds=20))
VAULT = Vault(b"a key of tests")


def ready() -> None:
    """Wait until readers of untrusted files can be forked: a restreamer starts their parent long before."""
    child = children().child(Event())
    child.order(Order.CLOSE)
    child.answer()
    child.close()


def _no_broker() -> object:
    raise AssertionError("there is no broker in this test")


def access_to(folder: Path, **changes: object) -> Access:
    """Return an Access for sources on local servers, without a broker."""
    made = Access(
        ACCOUNT, VAULT, LOCAL, LocalStore(folder / "media"), folder / "library", _no_broker,  # type: ignore[arg-type]
        asyncio.new_event_loop(), SystemClock(), QUICK,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def source(kind: str, place: str, credentials: str = "") -> Source:
    """Return a source, sealed as in a message."""
    return Source(kind=kind, location=seal_url(VAULT, place), shown="it", credentials=credentials)  # type: ignore[arg-type]


def opened(kind: str, place: str, access: Access, stop: Event | None = None) -> Media:
    """Open a source."""
    return open_media(source(kind, place), access, stop or Event())


def numbers(track: Track | None, packets: Iterable[Packet]) -> list[int]:
    """Decode pictures and return the numbers on them, in order of presentation."""
    assert track is not None
    decoder = av.CodecContext.create("libdav1d" if track.codec == "av1" else track.codec, "r")
    decoder.extradata = track.config or None
    found: list[int] = []
    for packet in [*(p for p in packets if p.kind == "video"), None]:
        coded = None
        if packet is not None:
            coded = av.Packet(packet.data)
            coded.pts, coded.dts, coded.time_base = packet.pts, packet.dts, Fraction(1, FLICKS)
        found += [read_number(frame.to_ndarray(format="gray")) for frame in decoder.decode(coded)]
    return found


def check_times(packets: list[Packet]) -> None:
    """Check what the model promises: decode times grow, and nothing is shown before it is decoded."""
    for kind in ("video", "audio"):
        times = [p.dts for p in packets if p.kind == kind]
        assert times == sorted(set(times))
    assert all(p.pts >= p.dts and p.duration > 0 and p.data for p in packets)


def seconds(count: float | Fraction) -> int:
    """Convert seconds to flicks."""
    return round(count * FLICKS)


FORMS: dict[Container, str] = {"mp4": "mp4", "flv": "flv", "mpegts": "ts", "matroska": "mkv"}


def encode_each(folder: Path) -> dict[Container, Path]:
    """Encode six seconds in each container."""
    made = {container: folder / f"film.{ending}" for container, ending in FORMS.items()}
    for path in made.values():
        encode(Spec(), path)
    return made
