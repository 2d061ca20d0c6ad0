"""Fetches what edits need, from the library or from a web server: overlays, which a child decodes, and captions."""

from __future__ import annotations

import asyncio
import struct
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import httpx
import numpy as np

from services.clipper.edits.captions import Captions, read_captions
from services.clipper.edits.graph import Edit, Letters
from shared.errors import DestinationFailed, NotYet, Rejected
from shared.media.transcode.overlay import Overlay
from shared.messages.clips import ClipRecord
from shared.messages.edits import LARGEST_CAPTIONS, LARGEST_LOGO, LONGEST_LOGO_SIDE, BurntIn, LaidOver
from shared.runtime.clock import Clock
from shared.security.netguard import AddressRefused
from shared.security.netguard.http import GuardedTransport, guarded_client, read_at_most
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url
from shared.store.base import ObjectMissing
from shared.store.library import Library

# How long a server that does not answer is asked again; after that the clip fails.
PATIENCE: Final = timedelta(minutes=5)
AGAIN: Final = timedelta(seconds=5)
ALL_OF_IT: Final = timedelta(seconds=30)
DECODED_WITHIN: Final = timedelta(seconds=20)
_TIMES: Final = httpx.Timeout(10)
_SERVERS: Final = range(500, 600)
_PASSING: Final = frozenset({408, 425, 429})
_PNG: Final = b"\x89PNG\r\n\x1a\n"


class _Named(NamedTuple):
    """A file that a client names."""

    what: str
    kind: str
    location: str
    shown: str
    most: int = LARGEST_LOGO


@dataclass(frozen=True, slots=True)
class Materials:
    """Makes the edits of clips. Rejected, whose text holds no secret, when a file cannot be used; NotYet, later."""

    transport: GuardedTransport
    library: Library
    vault: Vault
    clock: Clock
    font: str = ""

    async def edit(self, record: ClipRecord) -> Edit | None:
        """Return what is done to a clip's pictures; None when that is nothing."""
        wish = record.request.edit
        if wish is None:
            return None
        overlay = None if wish.overlay is None else await self._overlay(record, wish.overlay)
        said = None if wish.captions is None else await self._captions(record, wish.captions)
        return Edit(wish.crop, overlay, said, Letters(wish.captions.size if wish.captions else 0, self.font))

    async def _overlay(self, record: ClipRecord, laid: LaidOver) -> Overlay:
        pixels = await decoded(await self._file(record, _Named("overlay", laid.kind, laid.location, laid.shown)))
        return Overlay(pixels, laid.corner, laid.margin, laid.scale, laid.opacity)

    async def _captions(self, record: ClipRecord, asked: BurntIn) -> Captions:
        named = _Named("captions", asked.kind, asked.location, asked.shown, LARGEST_CAPTIONS)
        return await asyncio.to_thread(read_captions, await self._file(record, named))

    async def _file(self, record: ClipRecord, named: _Named) -> bytes:
        try:
            return await self._library(record.account, named) if named.kind == "library" else await self._web(named)
        except DestinationFailed as error:
            if self.clock.now_ms() - record.changed_ms < PATIENCE / timedelta(milliseconds=1):
                raise NotYet(f"the {named.what}: {error}", AGAIN) from error
            raise Rejected(f"the {named.what} {named.shown} could not be fetched: {error}") from error

    async def _library(self, account: str, named: _Named) -> bytes:
        def read() -> bytes:
            file = self.library.look(account, named.location)
            if file is None:
                raise Rejected(f"the {named.what} {named.shown} is not in the library")
            if file.size > named.most:
                raise Rejected(_too_large(named))
            try:
                return b"".join(self.library.read(file, 0, file.size))
            except ObjectMissing as error:
                raise DestinationFailed("it was replaced while it was read") from error

        return await asyncio.to_thread(read)

    async def _web(self, named: _Named) -> bytes:
        try:
            url = open_url(self.vault, named.location)
        except SecretUnreadable as error:
            raise Rejected(f"the URL of the {named.what} does not open with this SECRET_KEY") from error
        try:
            async with asyncio.timeout(ALL_OF_IT.total_seconds()):
                return await self._get(url, named)
        except AddressRefused as error:
            raise Rejected(f"the {named.what} {named.shown}: {error}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise DestinationFailed(f"no answer: {type(error).__name__}") from error

    async def _get(self, url: str, named: _Named) -> bytes:
        client = guarded_client(self.transport, timeout=_TIMES)  # not closed: the transport is for all
        async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.status_code in _SERVERS or answer.status_code in _PASSING:
                raise DestinationFailed(f"HTTP {answer.status_code}")
            if answer.status_code != httpx.codes.OK:
                raise Rejected(f"the {named.what} {named.shown} could not be fetched: HTTP {answer.status_code}")
            data = await read_at_most(answer, named.most + 1)
        if len(data) > named.most:
            raise Rejected(_too_large(named))
        return data


async def decoded(data: bytes) -> np.typing.NDArray[np.uint8]:
    """Return a PNG as height x width x RGBA; a child decodes it, because it may be anybody's. Rejected."""
    width, height = _measured(data)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.clipper.edits.png_child",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(DECODED_WITHIN.total_seconds()):
            pixels, _ = await child.communicate(data)
    except TimeoutError as error:
        raise Rejected("the overlay takes too long to decode") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode or len(pixels) != 4 * width * height:
        raise Rejected("the overlay cannot be decoded as PNG")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 4)


def _measured(data: bytes) -> tuple[int, int]:
    """Return the size that a PNG's header tells (PNG, 11.2.2). Rejected."""
    if not data.startswith(_PNG) or len(data) < 24:
        raise Rejected("the overlay is not a PNG")
    width, height = struct.unpack_from(">II", data, 16)
    if not (0 < width <= LONGEST_LOGO_SIDE and 0 < height <= LONGEST_LOGO_SIDE):
        raise Rejected(f"the overlay has {width}x{height} pixels; at most {LONGEST_LOGO_SIDE} a side are taken")
    return width, height


def _too_large(named: _Named) -> str:
    return f"the {named.what} {named.shown} is larger than {named.most >> 20} MiB"
