"""A publication as a file of FLV bytes, which FFmpeg's demuxer reads while it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.ingester.rtmp import Publication
from services.ingester.rtmp.frames import announced_tracks
from services.ingester.rtmp.tags import NEEDS_CONFIG, read_media
from shared.rtmp.amf import EcmaArray, encode
from shared.rtmp.chunks import AUDIO, VIDEO, Payload
from shared.rtmp.cursor import Value
from tests.support import media_flv as flv

HOLD: Final = 4 << 20
SECOND: Final = 1_000_000_000


class FlvFile:
    """Gives the bytes of a publication, cut into runs within which tracks and their parameters never change.

        while True:
            with av.open(file, format="flv", options=dict(file.options)) as container:
                ...
            if not file.next_run():
                break

    A run begins with a header that names its tracks, and their sequence headers. `read` answers b"" at its end.
    """

    options: Mapping[str, str] = MappingProxyType({"fpsprobesize": "0", "analyzeduration": "2000000"})
    """The headers say all: no frames need be held back to guess a frame rate."""

    def __init__(self, publication: Publication[str]) -> None:
        self._runs = _Runs()
        self._arriving = publication.receive(self._runs)
        self._block = b""

    def read(self, size: int = -1) -> bytes:
        """Wait for bytes of the current run."""
        while not self._block and not self._runs.is_over and self._more():
            self._block = self._runs.take()
        self._block = self._block or self._runs.take()
        size = len(self._block) if size < 0 else size
        part, self._block = self._block[:size], self._block[size:]
        return part

    def next_run(self) -> bool:
        """Go on with the next run; wait until there is one. False when the publication has ended."""
        while self.read():
            pass
        self._runs.advance()
        while not self._runs.is_started and self._more():
            pass
        return self._runs.is_started

    def _more(self) -> bool:
        for _ in self._arriving:
            return True
        return False


class _Runs:
    """Takes messages, gives FLV streams."""

    def __init__(self) -> None:
        self.dropped = 0
        self._configs: dict[int, tuple[str, bytes]] = {}
        self._metadata: Mapping[str, Value] = {}
        self._held: list[bytes] = []
        self._held_since_ns = 0
        self._first = True
        self._runs: list[bytearray] = []  # the first one is the current one
        self._flowing = False

    @property
    def codecs(self) -> tuple[str, ...]:
        return tuple(self._configs[kind][0] for kind in (VIDEO, AUDIO) if kind in self._configs)

    @property
    def is_started(self) -> bool:
        return bool(self._runs)

    @property
    def is_over(self) -> bool:
        return len(self._runs) > 1

    def take(self) -> bytes:
        if not self._runs:
            return b""
        data = bytes(self._runs[0])
        self._runs[0].clear()
        return data

    def advance(self) -> None:
        if self._runs:
            self._runs.pop(0)

    def media(self, kind: int, timestamp: int, payload: Payload, now_ns: int) -> bool:
        media = read_media(kind, payload)
        if media is None or media.role == "extra":
            return False
        codec, config = self._configs.get(kind, ("", b""))
        if media.role == "config":
            if (codec, config) != (media.codec, bytes(payload)):
                self._change(kind, media.codec, bytes(payload))
            return False
        if codec != media.codec:
            if media.codec in NEEDS_CONFIG:
                self.dropped += 1
                return False
            self._change(kind, media.codec, b"")
        self._frame(flv.Tag(kind, timestamp, bytes(payload)), now_ns)
        return True

    def metadata(self, values: Mapping[str, Value]) -> None:
        self._metadata = values

    def timecode(self, timestamp: int, label: object) -> None:
        pass

    def finish(self) -> None:
        self._start()

    def _change(self, kind: int, codec: str, config: bytes) -> None:
        if kind in self._configs:
            self._start()
        self._flowing = False
        self._configs[kind] = codec, config

    def _frame(self, tag: flv.Tag, now_ns: int) -> None:
        if not self._held:
            self._held_since_ns = now_ns
        self._held.append(flv.encode(tag))
        announced, known = announced_tracks(self._metadata), self._configs.keys()
        told = len(known) == 2 or (announced and announced <= known)
        if not self._first or told or now_ns - self._held_since_ns >= SECOND or sum(map(len, self._held)) > HOLD:
            self._start()

    def _start(self) -> None:
        """Write what has come, under a header if none has been written since the last change."""
        if not self._held:
            return
        if not self._flowing:
            self._flowing, self._first = True, False
            tracks = announced_tracks(self._metadata) | self._configs.keys()
            run = bytearray(flv.header(4 * (AUDIO in tracks) + (VIDEO in tracks)))
            if self._metadata:
                run += flv.encode(flv.Tag(flv.SCRIPT, 0, encode("onMetaData", EcmaArray(self._metadata))))
            time = int.from_bytes(self._held[0][4:7], "big") | self._held[0][7] << 24
            for kind in sorted(self._configs, reverse=True):
                if self._configs[kind][1]:
                    run += flv.encode(flv.Tag(kind, time, self._configs[kind][1]))
            self._runs.append(run)
        self._runs[-1] += b"".join(self._held)
        self._held.clear()
