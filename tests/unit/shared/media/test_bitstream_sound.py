"""Headers of MPEG audio and of AC-3, and what MP4 says of them, against the standards' own numbers."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from services.gateway.delivery.codecs import codecs_of
from shared.media.bitstream.ac3 import ACCESS_UNIT, DEPENDENT, all_channels, dac3, dec3, read_ac3
from shared.media.bitstream.bit_writer import BitWriter
from shared.media.bitstream.flac import flac_samples
from shared.media.bitstream.mpeg_audio import MpegAudio, read_mpeg_audio, silent_frame
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import ac3_config, codec_record, flac_config, mpeg_config, read_entry
from shared.media.seams.silence import silent_packet


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("fffb9044", MpegAudio(3, 44_100, 2, 1152, 417)),
        ("fffb9244", MpegAudio(3, 44_100, 2, 1152, 418)),
        ("fffb94c4", MpegAudio(3, 48_000, 1, 1152, 384)),
        ("fff38444", MpegAudio(3, 24_000, 2, 576, 192)),
        ("ffe38444", MpegAudio(3, 12_000, 2, 576, 384)),
        ("fffd8444", MpegAudio(2, 48_000, 2, 1152, 384)),
        ("fff58444", MpegAudio(2, 24_000, 2, 1152, 384)),
        ("ffff9444", MpegAudio(1, 48_000, 2, 384, 288)),
        ("fff15080", None),  # ADTS
        ("fffb0044", None),  # free format
        ("fffbf044", None),
        ("fffb9c44", None),
        ("fffb9046", None),  # reserved emphasis
        ("fffb90", None),
    ],
)
def test_headers_of_mpeg_audio(head: str, found: MpegAudio | None) -> None:
    assert read_mpeg_audio(bytes.fromhex("00" + head), 1) == found


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("codec", ["mp2", "mp3"])
@pytest.mark.parametrize("rate", [48_000, 44_100, 32_000, 24_000, 22_050, 16_000])
def test_silence_of_mpeg_audio_is_silent(codec: str, rate: int, channels: int) -> None:
    frame = silent_frame(codec, rate, channels)
    assert frame is not None
    found = read_mpeg_audio(frame)
    assert found is not None
    assert (found.codec, found.rate, found.channels, found.size) == (codec, rate, channels, len(frame))
    decoder = av.CodecContext.create(codec, "r")
    heard = [np.asarray(one.to_ndarray()) for _ in range(3) for one in decoder.decode(av.Packet(frame))]
    assert {one.shape[-1] for one in heard} == {found.samples}
    assert not any(one.any() for one in heard)
    assert silent_frame(codec, 47_999, channels) is None


@pytest.mark.parametrize(("rate", "name"), [(48_000, "mp4a.6B"), (32_000, "mp4a.6B"), (24_000, "mp4a.69")])
def test_the_entry_of_mpeg_audio(rate: int, name: str) -> None:
    frame = read_mpeg_audio(silent_frame("mp3", rate, 2) or b"")
    assert frame is not None
    config = mpeg_config(frame)
    assert read_entry(config.sample_entry, 2, rate) == config
    assert (codecs_of([config]), codec_record(config)) == (name, b"")


def ac3(fscod: int, code: int, acmod: int, mix: str, *, lfe: int) -> bytes:
    out = BitWriter()
    for value, count in ((0x0B77, 16), (0, 16), (fscod, 2), (code, 6), (8, 5), (0, 3), (acmod, 3)):
        out.bits(value, count)
    out.bits(int(mix or "0", 2), len(mix))
    out.bits(lfe, 1)
    return out.aligned() + bytes(20)


@pytest.mark.parametrize(
    ("frame", "size", "rate", "channels", "record"),
    [
        (ac3(0, 30, 7, "0101", lfe=1), 1792, 48_000, 6, "103de0"),  # 448 kbit/s, 3/2 with LFE
        (ac3(0, 20, 2, "00", lfe=0), 768, 48_000, 2, "101140"),
        (ac3(0, 12, 1, "", lfe=0), 384, 48_000, 1, "1008c0"),
        (ac3(1, 0, 2, "00", lfe=0), 138, 44_100, 2, "501000"),
        (ac3(1, 1, 2, "00", lfe=0), 140, 44_100, 2, "501000"),
        (ac3(2, 37, 7, "0101", lfe=0), 3840, 32_000, 5, "903a40"),
    ],
)
def test_headers_of_ac3(frame: bytes, size: int, rate: int, channels: int, record: str) -> None:
    found = read_ac3(frame)
    assert found is not None
    assert (found.codec, found.size, found.rate, found.channels, found.samples) == ("ac3", size, rate, channels, 1536)
    assert dac3(found).hex() == record
    config = ac3_config([found])
    assert read_entry(config.sample_entry, 2, rate) == config
    assert (codecs_of([config]), len(codec_record(config))) == ("ac-3", 3)


def eac3(kind: int, substream: int, blocks: int, acmod: int, *, lfe: int, chanmap: int | None = None) -> bytes:
    out = BitWriter()
    for value, count in (
        (0x0B77, 16), (kind, 2), (substream, 3), (383, 11), (0, 2), (blocks, 2), (acmod, 3), (lfe, 1), (16, 5), (31, 5),
        (0, 1),
    ):  # fmt: skip
        out.bits(value, count)
    if kind == DEPENDENT:
        out.bits(int(chanmap is not None), 1)
        out.bits(chanmap or 0, 16)
    return out.aligned() + bytes(20)


def test_eac3_of_seven_channels_and_bass_is_described_with_its_dependent_substream() -> None:
    # The rear pair replaces nothing; the sides come anew in the dependent frame (chanmap: Ls, Rs, Lrs/Rrs).
    own, more = read_ac3(eac3(0, 0, 3, 7, lfe=1)), read_ac3(eac3(1, 0, 3, 6, lfe=0, chanmap=0b0001_1010_0000_0000))
    assert own is not None
    assert more is not None
    assert (own.size, own.samples, own.begins, more.begins) == (768, ACCESS_UNIT, True, False)
    assert all_channels([own, more]) == 8
    assert dec3([own, more]).hex() == "0c00" + "200f02" + "02"  # 384 kbit/s
    config = ac3_config([own, more])
    assert (config.channels, codecs_of([config])) == (8, "ec-3")
    assert read_entry(config.sample_entry, 2, 48_000) == config


def test_eac3_of_several_programmes_and_short_frames() -> None:
    own, other = read_ac3(eac3(0, 0, 1, 2, lfe=0)), read_ac3(eac3(0, 1, 1, 1, lfe=0))
    assert own is not None
    assert other is not None
    assert (own.samples, own.begins, other.begins) == (512, True, False)
    assert dec3([own, other]).hex()[3] == "1"  # num_ind_sub, less one
    assert all_channels([own, other]) == 2


@pytest.mark.parametrize("head", ["0b77", "0b770000ffff8000", "0b780000" + "00" * 20, "0b770000c050" + "00" * 20])
def test_what_is_no_frame_is_none_or_an_error(head: str) -> None:
    data = bytes.fromhex(head)
    if len(data) < 8:
        with pytest.raises(Exception, match="ends in the middle"):
            read_ac3(data)
    else:
        assert read_ac3(data) is None


@pytest.mark.parametrize("codec", ["ac3", "eac3"])
@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (48_000, 2), (44_100, 2), (48_000, 6)])
def test_silence_of_ac3_is_silent_and_of_the_same_form(codec: str, rate: int, channels: int) -> None:
    head = read_ac3(eac3(0, 0, 3, 2, lfe=0))
    assert head is not None
    config = replace(ac3_config([head]), codec=codec, sample_rate=rate, channels=channels)  # type: ignore[arg-type]
    packet = silent_packet(config, ACCESS_UNIT)
    assert packet is not None
    found = read_ac3(packet)
    assert found is not None
    assert (found.codec, found.rate, found.channels, found.size) == (codec, rate, channels, len(packet))
    decoder = av.CodecContext.create(codec, "r")
    heard = [frame.to_ndarray() for _ in range(3) for frame in decoder.decode(av.Packet(packet))]
    assert max(float(np.abs(one).max()) for one in heard) < 1e-4, "decoders add noise of their own"
    assert silent_packet(config, 1000) is None


@pytest.mark.parametrize(
    ("head", "samples"),
    [
        ("fff8aa0800ed4c", 1024), ("fff81a0800ed4c", 192), ("fff85a0800ed4c", 4608), ("fff9ca0800ed4c", 4096),
        ("fff86a0800ff4c", 256), ("fff87a08000fff4c", 4096), ("fff87a08c2800fff4c", 4096), ("fff87a08e0a0800fff", 4096),
        ("fff80a0800ed4c", 0), ("fff87a0800", 0), ("fff87a08e0a0", 0), ("fffb9044000000", 0), ("", 0),
    ],
)  # fmt: skip
def test_samples_of_a_flac_frame(head: str, samples: int) -> None:
    assert flac_samples(bytes.fromhex(head)) == samples


def test_the_entry_of_flac() -> None:
    info = bytes.fromhex("04000400000000000000" + "0bb800f000000000") + bytes(16)
    for record in (info, b"fLaC\x00\0\0\x22" + info, b"fLaC\x80\0\0\x22" + info + b"more"):
        config = flac_config(record)
        assert (config.sample_rate, config.channels, config.codec, codecs_of([config])) == (48_000, 1, "flac", "fLaC")
        assert read_entry(config.sample_entry, 2, 48_000) == config
        assert codec_record(config) == info
    for broken in (info[:33], bytes(34), b"fLaC\x04" + bytes(60)):
        with pytest.raises(Mp4Error):
            flac_config(broken)
