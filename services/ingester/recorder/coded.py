"""Reading the pictures of RTMP, whatever their codec: NAL units with length prefixes, AV1's OBUs, VP9's frames."""

from __future__ import annotations

from services.ingester.publication import VIDEO_SCALE
from services.ingester.recorder.pictures import CodedPicture, LengthPrefixed
from shared.media.bitstream import av1, vp9
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import build_vpcc, level_of, read_key, read_vpcc
from shared.media.mp4.entries import av1_config, vp9_config
from shared.media.tracks import FRAME_CODECS, PictureCodec, TrackConfig, has_nals

MOST_HELD = 16 << 20
"""Bytes of pictures that are decoded, but not shown, and wait for one that is."""
USUAL_RATE = 30
"""Frames per second for the level of a VP9 stream that does not tell its own."""


class CodedPictures:
    """Reads the pictures of one track, whose codec may change."""

    def __init__(self) -> None:
        self._reader: LengthPrefixed | Av1Pictures | Vp9Pictures = LengthPrefixed()

    @property
    def config(self) -> TrackConfig | None:
        """The track's description, once it is known."""
        return self._reader.config

    def begin(self, codec: PictureCodec) -> None:
        """Expect pictures of a codec: AV1 and VP9 can describe themselves."""
        if codec == "av1" and not isinstance(self._reader, Av1Pictures):
            self._reader = Av1Pictures()
        elif codec == "vp9" and not isinstance(self._reader, Vp9Pictures):
            self._reader = Vp9Pictures()
        elif codec not in FRAME_CODECS and not isinstance(self._reader, LengthPrefixed):
            self._reader = LengthPrefixed()

    def configure(self, codec: PictureCodec, record: bytes) -> None:
        """Take a sequence header's record; Mp4Error, BitstreamError when it is invalid."""
        self.begin(codec)
        if not isinstance(self._reader, LengthPrefixed):
            self._reader.configure(record)
        elif has_nals(codec):
            self._reader.configure(codec, record)

    def take(self, data: bytes) -> CodedPicture | None:
        """Return a picture as MP4 stores it; None for one that is not shown by itself, or before a description.

        Mp4Error, BitstreamError when it is cut short.
        """
        return self._reader.take(data)


class Av1Pictures:
    """Reads temporal units. Delimiters go, and each key frame gets the sequence header that players look for in it."""

    def __init__(self) -> None:
        self.config: TrackConfig | None = None
        self._sequence: av1.Obu | None = None
        self._record = b""
        self._held: list[av1.Obu] = []
        self._held_bytes = 0

    def configure(self, record: bytes) -> None:
        """Take an av1C record; one without a sequence header says nothing that key frames do not."""
        if record == self._record:
            return
        sequence = av1.sequence_of(record[4:])
        if sequence is None:
            return
        self._record = record
        if self._sequence is None or sequence.body != self._sequence.body:
            self.config, self._sequence = av1_config(record, VIDEO_SCALE), sequence

    def take(self, data: bytes) -> CodedPicture | None:
        """Return a temporal unit; what it decodes without showing waits for the next one."""
        fresh = list(av1.split_obus(data))
        self._held_bytes += sum(len(obu.whole) for obu in fresh)
        self._held += fresh
        if self._held_bytes > MOST_HELD or len(self._held) > av1.MOST_OBUS:
            self._forget()
            raise BitstreamError("no picture is shown")
        if not any(obu.shows for obu in fresh):
            return None
        obus = self._held
        self._forget()
        key = av1.is_entry(obus)
        if key:
            obus = self._headed(obus)
        return CodedPicture(self.config, av1.joined(obus), key, key) if self.config is not None else None

    def _forget(self) -> None:
        self._held, self._held_bytes = [], 0

    def _headed(self, obus: list[av1.Obu]) -> list[av1.Obu]:
        """Return a key frame's OBUs with the sequence header, which may be a new one."""
        sequence = next((obu for obu in obus if obu.kind == av1.SEQUENCE_HEADER), None)
        if sequence is None:
            return [self._sequence, *obus] if self._sequence is not None else obus
        if self._sequence is None or sequence.body != self._sequence.body:
            self.config, self._sequence = av1_config(av1.build_av1c(sequence), VIDEO_SCALE), sequence
        return obus


class Vp9Pictures:
    """Reads frames and superframes. Size and format come with each key frame, the rest from the sequence header."""

    def __init__(self) -> None:
        self.config: TrackConfig | None = None
        self._record = b""
        self._form: PictureForm | None = None
        self._held: list[bytes] = []

    def configure(self, record: bytes) -> None:
        """Take a vpcC record; it applies from the next key frame on."""
        if record != self._record:
            read_vpcc(record, 0, 0)
            self._record, self._form = record, None

    def take(self, data: bytes) -> CodedPicture | None:
        """Return a frame or superframe; a frame that is not shown becomes part of the next one."""
        if not vp9.shows(data):
            self._held += vp9.split_superframe(data)
            if len(self._held) > 7 or sum(map(len, self._held)) > MOST_HELD:
                self._held = []
                raise BitstreamError("no picture is shown")
            return None
        if self._held:
            frames, self._held = [*self._held, *vp9.split_superframe(data)], []
            data = vp9.join_superframe(frames)
        key = vp9.is_entry(data)
        if key:
            self._describe(data)
        return CodedPicture(self.config, data, key, key) if self.config is not None else None

    def _describe(self, data: bytes) -> None:
        form = read_key(data)
        if form == self._form:
            return
        level, colour = level_of(form.width, form.height, USUAL_RATE), form.colour
        if self._record:
            told = read_vpcc(self._record, form.width, form.height)
            level = told.level or level
            if told.colour is not None:
                own = colour or told.colour
                colour = told.colour._replace(matrix=own.matrix, full=own.full)
        record = build_vpcc(form._replace(level=level, colour=colour))
        self.config, self._form = vp9_config(record, (form.width, form.height), VIDEO_SCALE), form
