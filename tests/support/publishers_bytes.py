"""Every parser of a publisher's bytes, with real input for each, and the errors that it may raise for damaged input."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from services.ingester.publication import NotMedia
from services.ingester.recorder.audio import AdtsSplitter, opus_duration, opus_track, split_opus
from services.ingester.recorder.coded import CodedPictures
from services.ingester.recorder.pictures import LengthPrefixed, ParameterSets, has_recovery_point
from services.ingester.recorder.psi import read_pat, read_pmt
from services.ingester.recorder.sbr import SbrWatch
from services.ingester.recorder.slices import SliceReader
from services.ingester.refusals import PublishRefused
from services.ingester.rtmp.aggregate import split_aggregate
from services.ingester.rtmp.codecs import CodecWatch
from services.ingester.rtmp.colour_info import read_colour_info
from services.ingester.rtmp.frames import MediaFrames
from services.ingester.rtmp.metadata import read_data, sanitise
from services.ingester.srt.gate import plain, wish
from services.ingester.srt.streamid import parse
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import read_look
from shared.media.bitstream.params import build_avcc, build_hvcc, read_sps, record_sets, set_id, split_annexb
from shared.media.mp4.aac import frame_program, read_aac, silence, with_sbr
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import aac_config, opus_config, video_config
from shared.media.tracks import PictureCodec
from shared.rtmp.amf import decode, encode
from shared.rtmp.chunks import AGGREGATE, AUDIO, COMMAND_AMF0, DATA_AMF0, VIDEO, ChunkLimits, ChunkParser, Message
from shared.rtmp.commands import read_command
from shared.rtmp.errors import LimitExceeded, ProtocolError
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, frames_of, pieces
from tests.support.rtmp_client import chunked
from tests.support.spoil import Dice
from tests.support.ts_layouts import LAYOUTS
from tests.support.ts_mux import coded, mux

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "2")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-g", "12")
PCE = ("-af", "pan=2.1|c0=c0|c1=c0|c2=c0", "-c:a", "aac")
MADE = {
    "h264.ts": (*X264, "-c:a", "aac"),
    "hevc.ts": (*X265, "-c:a", "libopus"),
    "program.ts": (*X264, *PCE),
    "low.ts": (*X264, "-c:a", "aac", "-ar", "24000"),
    "h264.flv": (*X264, "-c:a", "aac"),
    "hevc.flv": (*X265, "-c:a", "libopus"),
    "av1.flv": (*media.VIDEO["av1"], "-g", "10", "-c:a", "aac"),
    "vp9.flv": (*media.VIDEO["vp9"], "-g", "10", "-c:a", "aac"),
    "program.flv": (*X264, *PCE),
    "low.flv": (*X264, "-c:a", "aac", "-ar", "24000", "-ac", "1"),
}
LAID = ("chunks-300", "nal-a-packet", "every-tenth-stamped")


def streams(folder: Path, seconds: float = 1.0) -> dict[str, bytes]:
    """Encode short streams of every kind that is recorded."""

    def make(name: str, *coding: str) -> Path:
        picture = f"testsrc2=size=96x64:rate=25:duration={seconds}"
        sine = f"sine=sample_rate=48000:duration={seconds}"
        media.run("-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sine, *coding, folder / name)
        return folder / name

    found = {name: make(name, *coding).read_bytes() for name, coding in MADE.items()}
    units = coded(make("laid.mp4", *X264, "-an"), "h264", delimiters=False)
    for name in LAID:
        found[f"h264-{name}.ts"] = bytes(mux("h264", LAYOUTS[name](units)))
    return found


RTMP = (ProtocolError, LimitExceeded)
SEI = [b"\x06\x06\x01\xc4\x80", b"\x4e\x01\x06\x02\x84\x80\x80", b"\x06\xff\x20\xff\x06\x04\0\0\3\1"]
OPUS = [b"\x7f\xe0\xff\x02" + bytes(257) + b"\x7f\xf4\x05\1\2\3\4\5\6"]
CONNECT = encode(
    "connect", 1.0, {"app": "live", "tcUrl": "rtmp://h/live", "fourCcList": ["av01"], "objectEncoding": 3.0}
)
IDS = [b"#!::r=live/abc,m=publish,u=x", b"publish:live/key?k=1", "\u00e9#!::m=request".encode()]
WHOLE = ("av1.flv", "vp9.flv")
COLOURS = encode(
    "colorInfo", {"colorConfig": {"colorPrimaries": 9.0, "transferCharacteristics": 16.0}, "hdrCll": {"maxCLL": 1000.0}}
)
PARSERS = (
    "h264 sps", "h264 set id", "h264 look", "hevc sps", "hevc set id", "hevc look", "avcC", "hvcC", "annex B h264",
    "annex B hevc", "slices h264", "slices hevc", "pictures h264", "pictures hevc", "SEI", "AudioSpecificConfig",
    "SBR", "program config", "ADTS", "OpusHead", "Opus", "Opus code", "PAT", "PMT", "AMF0", "AMF0 strict", "AMF3",
    "command", "onMetaData", "messages", "aggregate", "stream id",
    "pictures av1", "pictures vp9", "colorInfo",
)  # fmt: skip


class Parser(NamedTuple):
    """A parser, real inputs for it, and its documented errors."""

    name: str
    parse: Callable[[bytes], object]
    inputs: list[bytes]
    allowed: tuple[type[Exception], ...]


def parsers(made: dict[str, bytes]) -> list[Parser]:
    """Return the parsers, with inputs from the streams made."""
    tags = {name: flv.split(data) for name, data in made.items() if name.endswith("flv")}
    avcc, hvcc = (next(t.body[5:] for t in tags[name] if t.kind == flv.VIDEO and t.is_config)
                  for name in ("h264.flv", "hevc.flv"))  # fmt: skip
    sets = {"h264": record_sets("h264", avcc), "hevc": record_sets("hevc", hvcc)}
    audio = {name: [t.body for t in found if t.kind == flv.AUDIO] for name, found in tags.items()}
    configs = [audio[name][0][2:] for name in ("h264.flv", "program.flv", "low.flv")]
    opus = next(body[5:] for body in audio["hevc.flv"] if body[5:13] == b"OpusHead")
    pictures = {
        name: [t.body[skip:] for t in tags[name] if t.kind == flv.VIDEO and not t.is_config][:12]
        for name, skip in (("h264.flv", 5), ("hevc.flv", 8))
    }
    sections = [section for name in ("h264.ts", "hevc.ts") for section in _sections(made[name])]
    meta = [t.body for found in tags.values() for t in found if t.kind == flv.SCRIPT]
    adts = [body for body in re.split(rb"(?=\xff\xf1)", made["program.ts"]) if body[:2] == b"\xff\xf1"][:8]
    found = [
        Parser(f"{codec} {name}", _both(codec, read), sets[codec], (Mp4Error,))
        for codec in ("h264", "hevc") for name, read in (("sps", read_sps), ("set id", set_id), ("look", read_look))
    ]  # fmt: skip
    found += [
        Parser("avcC", lambda d: (video_config("h264", d, 90000), ParameterSets("h264").adopt(d)), [avcc], (Mp4Error,)),
        Parser("hvcC", lambda d: (video_config("hevc", d, 90000), ParameterSets("hevc").adopt(d)), [hvcc], (Mp4Error,)),
        Parser("annex B h264", lambda d: build_avcc(split_annexb(d)), [_annexb(sets["h264"])], (Mp4Error,)),
        Parser("annex B hevc", lambda d: build_hvcc(split_annexb(d)), [_annexb(sets["hevc"])], (Mp4Error,)),
        Parser("slices h264", _slices("h264", sets["h264"]), [p[4:68] for p in pictures["h264.flv"]], (Mp4Error,)),
        Parser("slices hevc", _slices("hevc", sets["hevc"]), [p[4:68] for p in pictures["hevc.flv"]], (Mp4Error,)),
        Parser("pictures h264", _pictures("h264", avcc), pictures["h264.flv"], (Mp4Error,)),
        Parser("pictures hevc", _pictures("hevc", hvcc), pictures["hevc.flv"], (Mp4Error,)),
        Parser("SEI", lambda d: (has_recovery_point("h264", d), has_recovery_point("hevc", d)), SEI, ()),
        Parser("AudioSpecificConfig", _aac, configs, (Mp4Error,)),
        Parser("SBR", _sbr, [body[2:] for body in audio["low.flv"][1:8]], ()),
        Parser("program config", frame_program, [b[2:] for b in audio["program.flv"][1:4]] + adts, (Mp4Error,)),
        Parser("ADTS", _adts, [b"".join(adts[:4]), *adts], (Mp4Error,)),
        Parser("OpusHead", opus_config, [opus], (Mp4Error,)),
        Parser("Opus", lambda d: [opus_duration(p) for p in split_opus(d)], OPUS, ()),
        Parser("Opus code", lambda d: [opus_track(c) for c in d], [bytes(range(12))], ()),
        Parser("PAT", lambda d: read_pat(d.ljust(12, b"\0")), sections, ()),
        Parser("PMT", lambda d: read_pmt(d.ljust(12, b"\0")), sections, ()),
        Parser("AMF0", lambda d: decode(d, strict=False), meta, ()),
        Parser("AMF0 strict", decode, meta, RTMP),
        Parser("AMF3", lambda d: decode(b"\x11" + d), _amf3(), RTMP),
        Parser("command", _command, [CONNECT], RTMP),
        Parser("onMetaData", _metadata, meta, ()),
        Parser("messages", _messages, [_chunked(tags[name]) for name in ("h264.flv", "hevc.flv", "low.flv")], RTMP),
        Parser("aggregate", _aggregate, [b"".join(map(flv.encode, tags["h264.flv"][:6]))], (ProtocolError,)),
        Parser("stream id", _stream_id, IDS, (ValueError, PublishRefused)),
        *_whole_pictures(tags),
    ]  # fmt: skip
    assert [parser.name for parser in found] == list(PARSERS)
    return found


def _whole_pictures(tags: dict[str, list[flv.Tag]]) -> list[Parser]:
    bodies = {name: [t.body[5:] for t in tags[name] if t.kind == flv.VIDEO and len(t.body) > 5] for name in WHOLE}

    def read(codec: PictureCodec, record: bytes) -> Callable[[bytes], object]:
        def parse(data: bytes) -> object:
            pictures = CodedPictures()
            pictures.configure(codec, record)
            pictures.take(data)
            return pictures.configure(codec, data)

        return parse

    av1, vp9 = (bodies[name] for name in WHOLE)
    return [
        Parser("pictures av1", read("av1", av1[0]), av1[1:8], (Mp4Error, BitstreamError)),
        Parser("pictures vp9", read("vp9", vp9[0]), vp9[1:8], (Mp4Error, BitstreamError)),
        Parser("colorInfo", read_colour_info, [COLOURS], ()),
    ]


def demuxed(name: str, data: bytes, dice: Dice) -> int:
    """Demux a stream in pieces as a network would bring them; count its frames."""
    frames = 0
    with contextlib.suppress(NotMedia):
        for batch in frames_of("mpegts" if name.endswith("ts") else "flv", random_pieces(data, dice)):
            frames += len(batch.frames)
    return frames


def random_pieces(data: bytes, dice: Dice) -> Iterator[bytes]:
    """Cut bytes into pieces of many sizes."""
    at = 0
    while at < len(data):
        size = dice.choice((188, 1316, 5000, 100_000))
        yield data[at : at + size]
        at += size


def recorded(name: str, data: bytes, dice: Dice) -> int:
    """Record a stream, as RTMP messages when it is FLV; count its segments."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        recording = Recorded(folder)
        with contextlib.suppress(NotMedia):
            recording.run("mpegts" if name.endswith("ts") else "flv", pieces(data, dice.choice((1316, 20_000))))
        return len(recording.segments)
    finally:
        shutil.rmtree(folder)


def _sections(data: bytes) -> list[bytes]:
    """Return a stream's first program tables."""
    packets = [data[at : at + 188] for at in range(0, 188 * 6, 188)]
    return [p[5 : 8 + ((p[6] & 15) << 8 | p[7])] for p in packets if p[1] & 0x40 and p[4:6] in (b"\0\0", b"\0\2")]


def _both(codec: str, read: Callable[..., object]) -> Callable[[bytes], object]:
    return lambda data: read(codec, data)


def _annexb(sets: list[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in sets)


def _slices(codec: str, sets: list[bytes]) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        reader = SliceReader(codec)
        reader.learn(frozenset(sets))
        head = reader.read(data) if len(data) > 2 else None
        if head is not None:
            reader.poc_bits(head)
        reader.learn(frozenset((*sets[:-1], data)) if data else frozenset())
        reader.read(sets[0])

    return read


def _pictures(codec: str, record: bytes) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        pictures = LengthPrefixed()
        pictures.configure(codec, record)
        return pictures.take(data)

    return read


def _aac(data: bytes) -> None:
    aac_config(data)
    silence(data)
    aac_config(with_sbr(data, ps=True))
    read_aac(with_sbr(data, ps=False))


def _sbr(data: bytes) -> None:
    watch = SbrWatch(b"\x13\x08")
    for _ in range(11):
        watch.look(data)
    watch.decide()


def _adts(data: bytes) -> None:
    splitter = AdtsSplitter()
    for at in range(0, len(data), 150):
        splitter.split(data[at : at + 150])


def _amf3() -> list[bytes]:
    return [b"\x0a\x0b\1\x05abcd"[:3] + b"\x07key\x04\x05\x07two\x05" + bytes(8) + b"\1",
            b"\x09\x05\1\x04\1\x06\x07abc", b"\x08\1" + bytes(8), b"\x0a\x33\x07cls\x03a\x03b\x03c\1\2\3"]  # fmt: skip


def _command(data: bytes) -> None:
    command = read_command(Message(COMMAND_AMF0, 0, 0, bytearray(data)))
    command.text(0), command.mapping(0)


def _metadata(data: bytes) -> None:
    event = read_data(0, decode(data, strict=False))
    if event is not None:
        found = sanitise(event)
        CodecWatch().announce(found)
        MediaFrames(track_wait_ns=0, hold=1000, most=4).metadata(found)


def _chunked(tags: list[flv.Tag]) -> bytes:
    return b"".join(chunked(DATA_AMF0 if tag.kind == flv.SCRIPT else tag.kind, tag.time, tag.body) for tag in tags)


def _messages(data: bytes) -> None:
    """Take what a publisher sends, as a publication does."""
    parser = ChunkParser(ChunkLimits(1 << 20, 1 << 20, 16))
    media, watch = MediaFrames(track_wait_ns=0, hold=1000, most=64), CodecWatch()
    for at in range(0, len(data), 3000):
        part = data[at : at + 3000]
        parser.room()[: len(part)] = part
        for message in parser.parse(len(part)):
            inner = split_aggregate(message) if message.kind == AGGREGATE else [message]
            for each in inner:
                if each.kind in (AUDIO, VIDEO):
                    watch.look(each.kind, each.payload, at)
                    media.media(each.kind, each.timestamp, each.payload, at)
        media.take()
    media.finish()


def _aggregate(data: bytes) -> list[Message]:
    return split_aggregate(Message(AGGREGATE, 5, 1, memoryview(data)))


def _stream_id(data: bytes) -> None:
    text = plain(data.decode())
    parse(text)
    wish(text)
