"""The light and colour of a stream's pictures, from its key frames into the description of its track."""

from __future__ import annotations

from typing import Final

from services.ingester.recorder.damage import DAMAGE
from shared.media.mp4.hdr import COLR, colour_of, scene_boxes, with_boxes
from shared.media.tracks import TrackConfig

MOST: Final = 32
"""So often may colours that are told beside the pictures change: each time begins a new init segment."""


class Scenes:
    """Adds what key frames tell (HDR10's mastering display and light levels) to the track that they belong to.

    What was told first stays for as long as the track does: some encoders tell it once, others anew for each scene. The
    pictures say that themselves, and it is no reason for a new init segment.
    """

    def __init__(self) -> None:
        self._told: dict[bytes, bytes] = {}
        self._own: TrackConfig | None = None
        self._made: TrackConfig | None = None

    def described(self, config: TrackConfig, sample: bytes, *, key: bool) -> TrackConfig:
        """Return the description of a picture; the same object as long as nothing changes."""
        if config is self._own and not key and self._made is not None:
            return self._made
        scene = _scene(config, sample) if key else {}
        told = scene | self._told if config is self._own else _going_on(self._own, config, self._told) | scene
        if config is not self._own or told != self._told or self._made is None:
            self._own, self._told = config, told
            made = with_boxes(config, told) if told else config
            self._made = self._made if made == self._made and self._made is not None else made
        return self._made


def _scene(config: TrackConfig, sample: bytes) -> dict[bytes, bytes]:
    try:
        return scene_boxes(config, sample)
    except DAMAGE:  # what makes no sense tells nothing
        return {}


def _going_on(before: TrackConfig | None, config: TrackConfig, told: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what was told of the pictures before and holds for others: light, while codec and colours are the same."""
    if before is None or before.codec != config.codec or colour_of(before) != colour_of(config):
        return {}
    return {kind: content for kind, content in told.items() if kind != COLR}


class Toned:
    """Adds colours and light that are told beside the pictures, where the pictures' own description has none."""

    def __init__(self) -> None:
        self._told: dict[bytes, bytes] = {}
        self._own: TrackConfig | None = None
        self._made: TrackConfig | None = None
        self._left = MOST

    def of(self, config: TrackConfig, told: dict[bytes, bytes], *, key: bool) -> TrackConfig:
        """Return the description of a picture; what is told anew applies from a key frame on."""
        if key and told != self._told and self._left:
            self._told, self._own = told, None
            self._left -= 1
        if self._made is None or config is not self._own:
            self._own = config
            made = with_boxes(config, self._told, instead=False)
            self._made = self._made if made == self._made and self._made is not None else made
        return self._made
