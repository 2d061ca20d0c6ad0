"""The light and colour of a stream's pictures, from its key frames into the description of its track."""

from __future__ import annotations

from shared.media.model import TrackConfig
from shared.media.mp4.hdr import scene_boxes, with_boxes


class Scenes:
    """Adds what key frames tell (HDR10's mastering display and light levels) to the track that they belong to.

    What was told once stays, since many encoders tell it once; something else begins a new description.
    """

    def __init__(self) -> None:
        self._told: dict[bytes, bytes] = {}
        self._own: TrackConfig | None = None
        self._made: TrackConfig | None = None

    def described(self, config: TrackConfig, sample: bytes, *, key: bool) -> TrackConfig:
        """Return the description of a picture; the same object as long as nothing changes."""
        if config is self._own and not key and self._made is not None:
            return self._made
        told = self._told | (scene_boxes(config, sample) if key else {})
        if config is not self._own or told != self._told or self._made is None:
            self._own, self._told = config, told
            made = with_boxes(config, told) if told else config
            self._made = self._made if made == self._made and self._made is not None else made
        return self._made


class Toned:
    """Adds colours and light that are told beside the pictures, where the pictures' own description has none."""

    def __init__(self) -> None:
        self._told: dict[bytes, bytes] = {}
        self._own: TrackConfig | None = None
        self._made: TrackConfig | None = None

    def of(self, config: TrackConfig, told: dict[bytes, bytes], *, key: bool) -> TrackConfig:
        """Return the description of a picture; what is told anew applies from a key frame on."""
        if self._made is None or config is not self._own or (key and told is not self._told):
            self._own, self._told = config, told
            made = with_boxes(config, told, instead=False)
            self._made = self._made if made == self._made and self._made is not None else made
        return self._made
