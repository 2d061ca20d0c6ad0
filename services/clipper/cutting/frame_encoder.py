"""Encoding AV1 and VP9 frames for a track that also has recorded ones.

No headers need to be joined: a key frame brings its own, and forgets all that was before it. So an encoded stretch is a
stream of its own that ends where the recording's next key frame begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from shared.media.bitstream import av1
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.picture_form import PictureForm, pixel_name
from shared.media.bitstream.vp9 import build_vpcc, level_of, read_key
from shared.media.mp4.entries import av1_config, with_record
from shared.media.mp4.hdr import colour_of
from shared.media.seams.encode import KEYFRAME_SECONDS, Encoded, Style
from shared.media.seams.errors import CutError
from shared.media.seams.forms import form_of
from shared.media.tracks import PictureCodec, TrackConfig
from shared.media.transcode.colours import UNKNOWN
from shared.media.transcode.recorded import colours_of

AV1_QUALITY, VP9_QUALITY = 20, 16
"""CRF; seams are short, so they may cost more than what they replace."""
THREADS = 2


@dataclass(eq=False)
class FrameEncoder:
    """Encodes AV1 or VP9 frames; `codec` is that of the result.

    BitstreamError from `encode` for pictures that the encoders here cannot make: VP9 beyond 8 bits, AV1 beyond 4:2:0.
    One that is `alone` in its track makes AV1 in 4:2:0 of them.
    """

    style: Style
    alone: bool = False
    _first: bytes = b""

    @property
    def form(self) -> PictureForm:
        """The format of the pictures that it encodes."""
        form = form_of(self.style.config)
        return form._replace(chroma=1, depth=10 if form.depth > 8 else 8) if self._changes(form) else form

    @property
    def codec(self) -> PictureCodec:
        """The codec of the encoded pictures."""
        own: PictureCodec = "av1" if self.style.config.codec == "av1" else "vp9"
        return "av1" if self._changes(form_of(self.style.config)) else own

    @property
    def pixels(self) -> str:
        """FFmpeg's name of the pixel format that it takes."""
        return pixel_name(self.form.chroma, self.form.depth)

    def _changes(self, form: PictureForm) -> bool:
        return self.alone and not _can_encode(self.style.config.codec, form)

    def encode(self, frames: Iterable[av.VideoFrame], scene: Iterable[bytes] = ()) -> Iterator[Encoded]:
        """Encode frames, in order of presentation, as samples that begin with a key frame.

        `scene`: metadata OBUs to repeat in the first picture. CutError when the encoder fails.
        """
        if not self.alone and not _can_encode(self.style.config.codec, form_of(self.style.config)):
            raise BitstreamError("its picture format has no encoder here")
        lead, unit = list(scene) if self.codec == "av1" else [], 1 / self.style.rate
        context: av.VideoCodecContext | None = None
        for number, frame in enumerate(frames):
            context = context or self._open(frame)
            frame.pict_type, frame.pts, frame.time_base = PictureType.NONE, number, unit
            for packet in context.encode(frame):
                yield self._sample(packet, lead)
        for packet in context.encode(None) if context is not None else ():
            yield self._sample(packet, lead)

    def track(self, config: TrackConfig, *, copied: bool) -> TrackConfig:
        """Return the track of the result; `copied`: it has recorded pictures too, which its record describes."""
        if copied or not self._first:
            return config
        if self.codec == "vp9":
            form = read_key(self._first)
            level = level_of(form.width, form.height, self.style.rate)
            colour = form_of(config).colour or form.colour
            record = build_vpcc(form._replace(level=level, colour=colour))
        else:
            sequence = av1.sequence_of(self._first)
            if sequence is None:
                raise CutError("encoder gave no sequence header")
            record = av1.build_av1c(sequence)
        if self.codec == config.codec:
            return replace(config, sample_entry=with_record(config, record))
        return av1_config(record, config.timescale, config.track_id)

    def _open(self, frame: av.VideoFrame) -> av.VideoCodecContext:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes to stderr
        context = av.CodecContext.create("libsvtav1" if self.codec == "av1" else "libvpx-vp9", "w")
        if not isinstance(context, av.VideoCodecContext):
            raise CutError(f"no encoder for {self.codec}")
        context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
        context.framerate, context.time_base = self.style.rate, 1 / self.style.rate
        form = form_of(self.style.config)
        span, *told = colours_of(form._replace(colour=form.colour or colour_of(self.style.config)))
        own = (frame.colorspace, frame.color_primaries, frame.color_trc)
        context.color_range = span or frame.color_range
        context.colorspace, context.color_primaries, context.color_trc = (
            int(found) if have == UNKNOWN else have for have, found in zip(told, own, strict=True)
        )
        context.gop_size = max(round(KEYFRAME_SECONDS * self.style.rate), 1)
        context.thread_count = THREADS
        context.flags |= Flags.closed_gop
        context.options = self._options()
        context.open()
        return context

    def _options(self) -> dict[str, str]:
        if self.codec == "av1":
            return {"preset": "9", "crf": str(AV1_QUALITY), "svtav1-params": f"lp={THREADS}:scd=0"}
        # A ninth of the time of its best quality, for 1.5 dB.
        rates = {"crf": str(VP9_QUALITY), "b": "0", "auto-alt-ref": "0", "lag-in-frames": "0"}
        return {"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "tile-columns": "1", **rates}

    def _sample(self, packet: av.Packet[av.VideoStream], lead: list[bytes]) -> Encoded:
        if packet.pts is None:
            raise CutError("encoder lost a picture's time")
        data = bytes(packet)
        if self.codec == "av1":
            data = av1.with_scene(data, lead)
            lead.clear()
        self._first = self._first or data
        return Encoded(data, packet.pts, packet.is_keyframe)


def _can_encode(codec: str, form: PictureForm) -> bool:
    return form.chroma == 1 and form.depth <= (8 if codec == "vp9" else 10)
