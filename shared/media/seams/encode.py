"""Encoding the few frames at a seam so that they continue the copied stream.

They have its picture format, decoder limits and colour, and parameter set ids that it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import H264Sps, join_h264_sps, parse_h264_sps
from shared.media.bitstream.hevc_sets import (
    HevcSps,
    free_ids,
    join_hevc_sps,
    parse_hevc_sps,
    renumber_hevc_pps,
    renumber_hevc_slice,
)
from shared.media.bitstream.look import read_look
from shared.media.bitstream.nal import encoder_nals, is_slice, join_sample
from shared.media.bitstream.params import H264_SPS, HEVC_PPS, HEVC_SPS, nal_type, set_id, set_types, split_annexb
from shared.media.bitstream.records import length_size_of, sets_of, video_codec, with_sets
from shared.media.seams.errors import CutError
from shared.media.seams.forms import pixel_format
from shared.media.tracks import TrackConfig, VideoCodec
from shared.media.transcode.colours import FULL, LIMITED

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
# profile_idc to x264's name; for other profiles x264 chooses by the picture format.
_H264_PROFILES = {66: "baseline", 88: "baseline", 77: "main", 100: "high"}
QUALITY = 16  # CRF: seams are short, so they may cost more than what they replace
# In files a seam need not play in real time: noise gets as many bits as it needs (qcomp), up to a bound.
FILE_QUALITY, FILE_EVENNESS = 13, 1.0
LIVE_HEADROOM, FILE_HEADROOM = 3, 12
KEYFRAME_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded picture: its sample bytes, its frame's number within the seam, and whether it is an IDR picture."""

    payload: bytes
    frame: int
    sync: bool


@dataclass(frozen=True, slots=True)
class Style:
    """What encoded frames must look like: the track that they join, its frame rate, reorder depth and bit/s.

    `live`: the output is sent as it plays, so its bit rate is bounded; otherwise `bitrate` is the track's highest.
    """

    config: TrackConfig
    rate: Fraction
    depth: int
    bitrate: int
    live: bool = True


class JoiningEncoder:
    """Encodes frames for a track that holds copied samples of `style`; all its parts share one parameter set.

    `used_sets` are parameter sets that lie between the copied pictures. An encoder that is `alone` in its track
    ignores the stream's headers. MediaError when the headers make no sense or all ids are used.
    """

    def __init__(self, style: Style, used_sets: Iterable[bytes] = (), *, alone: bool = False) -> None:
        self._style = style
        self.codec: VideoCodec = video_codec(style.config)
        self._length_size = length_size_of(style.config)
        self._theirs: H264Sps | HevcSps | None = None
        self._sps_id = self._pps_id = 0
        self._fields: bool | None = None  # set by the first part, so that all share one SPS
        self.sets: list[bytes] = []
        if not alone:
            self._join([*sets_of(style.config), *used_sets])

    def encode(self, frames: Iterable[av.VideoFrame], first_sei: Iterable[bytes] = ()) -> Iterator[Encoded]:
        """Encode frames, in order of presentation, as samples in decode order that begin with an IDR picture.

        `first_sei` are units to repeat before the first picture. CutError when the encoder fails.
        """
        seam = self.seam(first_sei)
        for frame in frames:
            yield from seam.push(frame)
        yield from seam.finish()

    def seam(self, first_sei: Iterable[bytes] = ()) -> Seam:
        """Start a seam whose frames are encoded as in `encode`, one by one as they come."""
        return Seam(self._open, self._sample, 1 / self._style.rate, list(first_sei))

    @property
    def pixels(self) -> str:
        """FFmpeg's name of the pixel format that it takes."""
        return pixel_format(self._style.config)

    def track(self, config: TrackConfig, *, copied: bool) -> TrackConfig:
        """Return the track of the result, whose entry has our sets, and the stream's where pictures are `copied`."""
        return replace(config, sample_entry=with_sets(config, self.sets, keep=copied)) if self.sets else config

    def prepare(self, frame: av.VideoFrame) -> None:
        """Set `sets` before anything is encoded; `frame` is like those to come. CutError, MediaError."""
        self._open(frame)

    def _join(self, known: Sequence[bytes]) -> None:
        """Read the stream's limits and choose ids that it does not use."""
        if self.codec == "hevc":
            self._theirs = parse_hevc_sps(next(nal for nal in known if nal_type("hevc", nal) == HEVC_SPS))
            self._sps_id, self._pps_id = free_ids(known)
            return
        self._theirs = parse_h264_sps(next(nal for nal in known if nal_type("h264", nal) == H264_SPS))
        used = {set_id("h264", nal) for nal in known}
        free = next((number for number in range(1, 32) if number not in used), None)
        if free is None:
            raise BitstreamError("stream uses all parameter set ids")
        self._sps_id = self._pps_id = free  # x264 gives both sets the same

    def _open(self, frame: av.VideoFrame) -> av.VideoCodecContext:
        context = av.CodecContext.create(_ENCODERS[self.codec], "w")
        if not isinstance(context, av.VideoCodecContext):
            raise CutError(f"no encoder for {self.codec}")
        context.width, context.height = self._style.config.width, self._style.config.height
        context.pix_fmt = frame.format.name
        context.framerate = self._style.rate
        context.time_base = 1 / self._style.rate
        context.thread_type = "FRAME"  # no slices: they cost quality
        self._look(context)
        context.flags |= Flags.global_header | Flags.closed_gop
        if self._fields is None:
            self._fields = frame.interlaced_frame and self.codec == "h264"
        if self._fields:
            context.flags |= Flags.interlaced_dct
        context.options = self._h264_options() if self.codec == "h264" else self._hevc_options()
        context.open()
        sets = self._joined(split_annexb(bytes(context.extradata or b"")))
        if self.sets and sets != self.sets:
            raise CutError("encoder changed its parameter sets between two seams")
        self.sets = sets
        return context

    def _look(self, context: av.VideoCodecContext) -> None:
        """Set the colours and the pixels' aspect of the stream; a joined SPS repeats the stream's own anyway."""
        sps = next(nal for nal in sets_of(self._style.config) if nal_type(self.codec, nal) in (H264_SPS, HEVC_SPS))
        look = read_look(self.codec, sps)
        context.sample_aspect_ratio = Fraction(*look.aspect)
        if look.colour is not None:
            context.color_primaries, context.color_trc, context.colorspace, full = look.colour
            context.color_range = FULL if full else LIMITED

    def _rate_options(self) -> dict[str, float]:
        """Bound the bitrate by the source's own, so that no seam floods a player."""
        live = self._style.live
        cap = max((LIVE_HEADROOM if live else FILE_HEADROOM) * self._style.bitrate, 1_500_000) // 1000
        keyframes = max(round(KEYFRAME_SECONDS * self._style.rate), 1)
        bounds: dict[str, float] = {"keyint": keyframes}
        if live or self.codec == "h264":  # with a bound, x265 spoils a first picture full of noise
            bounds |= {"vbv-maxrate": cap, "vbv-bufsize": cap if live else 2 * cap}
        return bounds if live else bounds | {"qcomp": FILE_EVENNESS}

    @property
    def _quality(self) -> str:
        return str(QUALITY if self._style.live else FILE_QUALITY)

    def _h264_options(self) -> dict[str, str]:
        sps = self._theirs if isinstance(self._theirs, H264Sps) else None
        depth = self._style.depth
        # At a seam's bitrate CABAC is a quarter of the encoder's work and half of the decoder's, for less than 1 dB.
        settings = {
            "sps-id": self._sps_id, "annexb": 1, "repeat-headers": 0, "force-cfr": 1, "rc-lookahead": 10,
            "bframes": 3 if depth else 0, "b-pyramid": "normal" if depth > 1 else "none",
            "ref": 2 if depth > 1 else 1, "cabac": int(sps is None), **self._rate_options(),
        }  # fmt: skip
        options = {"preset": "superfast", "crf": self._quality, "x264-params": _joined_options(settings)}
        if sps is not None and sps.profile in _H264_PROFILES:
            options["profile"] = _H264_PROFILES[sps.profile]
        return options

    def _hevc_options(self) -> dict[str, str]:
        sps = self._theirs if isinstance(self._theirs, HevcSps) else None
        depth = self._style.depth
        settings = {
            "log-level": "none", "info": 0, "repeat-headers": 0, "open-gop": 0, "aud": 0, "hrd": 0, "rc-lookahead": 15,
            "bframes": 3 if depth else 0, "b-pyramid": int(depth > 1), "temporal-layers": 0,
            "ref": max(min(sps.limits[0] - depth if sps else 3, 3), 1), **self._rate_options(),
        }  # fmt: skip
        return {"preset": "ultrafast", "crf": self._quality, "x265-params": _joined_options(settings)}

    def _joined(self, sets: Iterable[bytes]) -> list[bytes]:
        """Return the encoder's parameter sets, adapted to the stream's."""
        wanted = [nal for nal in sets if nal_type(self.codec, nal) in set_types(self.codec)]
        if self._theirs is None:
            return wanted
        out: list[bytes] = []
        for nal in wanted:
            kind = nal_type(self.codec, nal)
            if isinstance(self._theirs, H264Sps):
                out.append(join_h264_sps(nal, self._theirs, self._style.depth) if kind == H264_SPS else nal)
            elif kind == HEVC_SPS:
                out.append(join_hevc_sps(nal, self._theirs, self._sps_id, self._style.depth))
            elif kind == HEVC_PPS:
                out.append(renumber_hevc_pps(nal, self._pps_id, self._sps_id))
        return out

    def _sample(self, packet: av.Packet[av.VideoStream], lead: list[bytes]) -> Encoded:
        nals = encoder_nals(self.codec, split_annexb(bytes(packet)))
        if isinstance(self._theirs, HevcSps):
            nals = [renumber_hevc_slice(nal, self._pps_id) if is_slice("hevc", nal) else nal for nal in nals]
        if packet.pts is None:
            raise CutError("encoder lost a picture's time")
        return Encoded(join_sample([*lead, *nals], self._length_size), packet.pts, packet.is_keyframe)


class Seam:
    """The encoding of one seam's frames; made by JoiningEncoder.seam."""

    def __init__(
        self,
        open_context: Callable[[av.VideoFrame], av.VideoCodecContext],
        sample: Callable[[av.Packet[av.VideoStream], list[bytes]], Encoded],
        unit: Fraction,
        lead: list[bytes],
    ) -> None:
        self._open, self._sample, self._unit, self._lead = open_context, sample, unit, lead
        self._context: av.VideoCodecContext | None = None
        self._count = 0

    def push(self, frame: av.VideoFrame) -> Iterator[Encoded]:
        """Encode the next frame in order of presentation; yield finished pictures."""
        if self._context is None:
            self._context = self._open(frame)
        frame.pict_type = PictureType.NONE  # otherwise the encoder would repeat the source's own choice
        frame.time_base = self._unit
        frame.pts = self._count
        self._count += 1
        return self._samples(frame)

    def finish(self) -> Iterator[Encoded]:
        """Yield all remaining pictures."""
        return self._samples(None)

    def _samples(self, frame: av.VideoFrame | None) -> Iterator[Encoded]:
        packets = self._context.encode(frame) if self._context is not None else []
        for packet in packets:
            yield self._sample(packet, self._lead)
            self._lead = []


def _joined_options(settings: Mapping[str, object]) -> str:
    return ":".join(f"{name}={value}" for name, value in settings.items())
