"""Downloads of clips: their URLs, the signatures that replace an API key, and their bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import partial
from typing import Final
from urllib.parse import urlencode

from services.gateway.delivery.tokens import clip_playlist_url, usual_expiry
from services.gateway.domain.clips.clips import KnownClip
from services.gateway.http.files import PIECE, Content, tag_of
from services.gateway.http.public_url import PublicUrl
from shared.messages.clips import ClipFile
from shared.messages.images import ClipImage
from shared.runtime.clock import Clock
from shared.security.secrets import Vault
from shared.store import MediaStore

PURPOSE: Final = "clip-download"


class Downloads:
    """Signs links and reads files."""

    def __init__(self, store: MediaStore, vault: Vault, clock: Clock, public: PublicUrl) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._public = public

    def url(self, clip: str, name: str = "media.mp4") -> str:
        """Return the URL of a clip's file or image, which needs an API key."""
        return f"{self._public.base}/v1/vods/{clip}/{name}"

    def signed_url(self, account: str, clip: str, name: str = "media.mp4") -> str:
        """Return the URL of a clip's file or image that needs no API key, valid for about 24 h."""
        expires = usual_expiry(self._clock)
        signature = self._vault.sign(f"{account}/{clip}/{expires}", PURPOSE)
        query = urlencode({"account": account, "expires": expires, "signature": signature})
        return f"{self.url(clip, name)}?{query}"

    def playlist_url(self, account: str, clip: str) -> str:
        """Return the URL that plays a clip from the recording's segments without an API key, for about 24 h."""
        return clip_playlist_url(self._vault, self._clock, self._public.base, account, clip)

    def is_signed(self, account: str, clip: str, expires: int, signature: str) -> bool:
        """Return whether a link was made by this installation and has not expired."""
        good = self._vault.verify(f"{account}/{clip}/{expires}", signature, PURPOSE)
        return good and self._clock.now_ms() < expires * 1000

    def content(self, known: KnownClip, file: ClipFile) -> Content:
        """Return a clip's file as content to send."""
        headers: tuple[tuple[str, str], ...] = ()
        if file.sha256:  # RFC 9530
            headers = (("Repr-Digest", f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:"),)
        return Content(
            size=file.bytes,
            tag=tag_of(file.key, file.bytes, file.method),
            name=f"{known.request.label or known.request.clip}.mp4",
            read=partial(self._read, file.key),
            headers=headers,
        )

    def image(self, image: ClipImage, key: str) -> Content:
        """Return a clip's image as content to send."""
        return Content(
            size=image.bytes,
            tag=tag_of(key, image.bytes, image.at_us),
            read=partial(self._read, key),
            media_type=f"image/{image.format}",
            what="image",
        )

    def _read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        return self._store.read(key, offset, length, chunk=PIECE)
