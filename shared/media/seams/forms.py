"""The format of a track's pictures, whatever its codec."""

from __future__ import annotations

from shared.media.bitstream.av1 import read_sequence, sequence_of
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.params import H264_SPS, HEVC_SPS, nal_type, read_sps
from shared.media.bitstream.picture_form import PictureForm, pixel_name
from shared.media.bitstream.records import sets_of, video_codec
from shared.media.bitstream.vp9 import read_vpcc
from shared.media.mp4.entries import codec_record
from shared.media.tracks import TrackConfig


def form_of(config: TrackConfig) -> PictureForm:
    """Return the format of a track's pictures; BitstreamError, Mp4Error when its record makes no sense."""
    if config.codec == "vp9":
        return read_vpcc(codec_record(config), config.width, config.height)
    if config.codec == "av1":
        sequence = sequence_of(codec_record(config)[4:])
        if sequence is None:
            raise BitstreamError("av1C without a sequence header")
        return read_sequence(sequence.body)
    codec = video_codec(config)
    picture = read_sps(codec, next(nal for nal in sets_of(config) if nal_type(codec, nal) in (H264_SPS, HEVC_SPS)))
    return PictureForm(picture.width, picture.height, depth=picture.depth_luma, chroma=picture.chroma)


def pixel_format(config: TrackConfig) -> str:
    """Return FFmpeg's name of a track's pixel format."""
    form = form_of(config)
    return pixel_name(form.chroma, form.depth)
