"""Which of a publisher's tracks can be recorded: checked before media is kept, so that a refusal can be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.ingester.recorder.names import audio_name, video_name
from services.ingester.rtmp.reader import AUDIO_CODECS, VIDEO_CODECS
from services.ingester.rtmp.tags import read_media
from shared.rtmp.chunks import AUDIO, VIDEO, Payload
from shared.rtmp.cursor import Value
from shared.rtmp.flv import is_enhanced

RECORDED: Final = frozenset({*VIDEO_CODECS, *AUDIO_CODECS})
_TOLD_NS, _UNTOLD_NS, _MISSING_NS = 500_000_000, 3_000_000_000, 10_000_000_000
"""Waits for another track, ns: metadata announces none besides those seen; there is no metadata; it announces one."""
_IDS: Final[Mapping[int, tuple[str, int]]] = {VIDEO: ("videocodecid", 0x0F), AUDIO: ("audiocodecid", 0xF0)}


class CodecWatch:
    """Checks every media message; `look` returns True once no sent or announced track can be recorded."""

    def __init__(self) -> None:
        self._announced: set[int] = set()
        self._marks: dict[int, bytes] = {}
        self._codecs: dict[int, str] = {}
        self._unfit_since_ns: int | None = None
        self._fit = False

    @property
    def unfit(self) -> tuple[str, ...]:
        """The display names of tracks that cannot be recorded, video first: "AV1 video"."""
        named = ((VIDEO, video_name), (AUDIO, audio_name))
        found = ((name, self._codecs.get(kind, "")) for kind, name in named)
        return tuple(name(codec) for name, codec in found if codec and codec not in RECORDED)

    def announce(self, metadata: Mapping[str, Value]) -> None:
        """Take the tracks that onMetaData announces."""
        self._announced = {kind for kind, (name, _) in _IDS.items() if metadata.get(name) not in (None, 0.0)}

    def look(self, kind: int, payload: Payload, now_ns: int) -> bool:
        """Take a message; return True when nothing of the stream can be recorded."""
        if self._fit:
            return False
        if len(payload) > 1:
            self._mark(kind, payload, now_ns)
        if self._fit or self._unfit_since_ns is None:
            return False
        if len(self._codecs) == 2:
            return True
        if not self._announced:
            patience = _UNTOLD_NS
        else:
            patience = _MISSING_NS if self._announced - self._codecs.keys() else _TOLD_NS
        return now_ns - self._unfit_since_ns >= patience

    def _mark(self, kind: int, payload: Payload, now_ns: int) -> None:
        """Read a message's codec when it differs from the previous one's."""
        mark = bytes(payload[1:5]) if is_enhanced(kind, payload[0]) else bytes((payload[0] & _IDS[kind][1],))
        if self._marks.get(kind) == mark:
            return
        media = read_media(kind, payload)
        if media is None:
            return
        self._marks[kind] = mark
        self._codecs[kind] = media.codec
        if media.codec in RECORDED:
            self._fit = True
        elif self._unfit_since_ns is None:
            self._unfit_since_ns = now_ns
