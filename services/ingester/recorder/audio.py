"""Audio frames inside MPEG-TS packets: AAC with ADTS headers, Opus with control headers.

Sources: ISO/IEC 14496-3 (1.A.2.2, adts_frame), RFC 6716 (3.1, TOC byte), ETSI TS 101 154 style Opus mapping
"Opus in MPEG-2 TS" draft (opus_control_header).
"""

from __future__ import annotations

from services.ingester.publication import VIDEO_SCALE, Frame
from services.ingester.recorder.sbr import SbrWatch
from shared.media.bitstream.opus import OpusHead
from shared.media.mp4.aac import Program, build_aac, frame_program, read_aac
from shared.media.mp4.entries import aac_config, opus_config
from shared.media.tracks import TrackConfig

AAC_FRAME = 1024
MAX_REST = 1 << 16
# Samples at 48 kHz of one Opus frame by the TOC byte's configuration number.
_OPUS_FRAMES = ((480, 960, 1920, 2880) * 3) + ((480, 960) * 2) + ((120, 240, 480, 960) * 4)
# Coupled streams and channel order by number of channels (RFC 7845, 5.1.1.2), from 3 channels on.
_OPUS_MAPS = {
    3: (2, 1, (0, 2, 1)), 4: (2, 2, (0, 1, 2, 3)), 5: (3, 2, (0, 4, 1, 2, 3)), 6: (4, 2, (0, 4, 1, 2, 3, 5)),
    7: (4, 3, (0, 4, 1, 2, 3, 5, 6)), 8: (5, 3, (0, 6, 1, 2, 3, 4, 5, 7))}  # fmt: skip


def opus_duration(packet: bytes) -> int:
    """Return the number of 48 kHz samples in an Opus packet; 0 when it is not an Opus packet."""
    if not packet:
        return 0
    toc = packet[0]
    frames = (1, 2, 2, 0)[toc & 3]
    if not frames:
        frames = packet[1] & 0x3F if len(packet) > 1 else 0
    samples = frames * _OPUS_FRAMES[toc >> 3]
    return samples if samples <= 5760 else 0


def opus_head(channels: int) -> bytes:
    """Build the OpusHead of a stream that has none: no pre-skip, the standard channel order."""
    if channels <= 2:
        return OpusHead(channels).write()
    streams, coupled, order = _OPUS_MAPS[channels]
    return OpusHead(channels, family=1, mapping=bytes((streams, coupled, *order))).write()


class AacSound:
    """AAC frames. Where the configuration does not say how they decode (SBR), the first ones wait until it is known."""

    def __init__(self) -> None:
        self.step = 0.0  # 90 kHz ticks of a frame
        self.config: TrackConfig | None = None
        self._told = b""
        self._watch: SbrWatch | None = None
        self._waiting: list[tuple[int, bytes]] = []
        self._duration = 0

    def configure(self, config: bytes) -> list[Frame]:
        """Take a new or repeated AudioSpecificConfig; return the frames waiting under the last. Mp4Error on garbage."""
        if config == self._told:
            return []
        meaning = read_aac(config)
        given = self.finish()
        self.step = meaning.frame * VIDEO_SCALE / meaning.rate
        self._told, self._watch = config, SbrWatch(config)
        self._settle()
        return given

    def ready(self, time: int, frame: bytes) -> Frame | None:
        """Return a frame with its time (90 kHz); None while it must `wait`, or there is no configuration."""
        if self._watch is not None or self.config is None:
            return None
        return Frame(self.config, time, 0, True, frame, self._duration)

    def wait(self, time: int, frame: bytes) -> list[Frame]:
        """Queue a frame; return the queued frames that are ready."""
        if self._watch is None:
            return []
        self._waiting.append((time, frame))
        self._watch.look(frame)
        return self._settle()

    def finish(self) -> list[Frame]:
        """Return the queued frames."""
        if self._watch is not None:
            self._watch.decide()
        return self._settle()

    def _settle(self) -> list[Frame]:
        """Describe the track once its configuration is known, and return the queued frames."""
        if self._watch is None or self._watch.config is None:
            return []
        config = aac_config(self._watch.config)
        if config != self.config:
            self.config = config
        self._duration = read_aac(self._watch.config).frame
        self._watch = None
        waiting, self._waiting = self._waiting, []
        return [Frame(self.config, time, 0, True, frame, self._duration) for time, frame in waiting]


class AdtsSplitter:
    """Splits ADTS into raw AAC frames; a frame may continue in the next packet."""

    def __init__(self) -> None:
        self.config: bytes | None = None
        self.lost = 0
        self.untold = False
        self._key = -1
        self._program: Program | None = None
        self._rest = b""

    @property
    def is_cut(self) -> bool:
        """Whether a frame has started that continues in the next packet."""
        return bool(self._rest)

    def reset(self) -> None:
        """Drop a partial frame after lost bytes."""
        self._rest = b""

    def split(self, data: bytes) -> tuple[int, list[bytes]]:
        """Return how many frames started before `data` (0 or 1), and all frames that end in it.

        Raise Mp4Error when a header describes AAC that cannot be stored.
        """
        before = 1 if self._rest else 0
        data = self._rest + data
        frames: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 7:
            header = int.from_bytes(data[at : at + 6], "big")
            if header >> 32 & 0xFFF6 != 0xFFF0:
                at = self._resync(data, at)
                before = 0
                continue
            size = header >> 5 & 0x1FFF
            head = 7 if header >> 32 & 1 else 9
            after = at + size
            if size <= head or (after + 1 < end and (data[after] != 0xFF or data[after + 1] & 0xF6 != 0xF0)):
                at, before = self._resync(data, at), 0  # not a header after all
                continue
            if after > end:
                break
            key = header >> 22 & 0x3F7  # kind, rate and channels, without the private bit
            if key == self._key and key & 7:  # same as the last frame: the usual case
                frames.append(data[at + head : after])
            elif frame := self._frame(key, data[at + head : after]):
                frames.append(frame)
            at = after
        self._rest = data[at:] if end - at <= MAX_REST else b""
        return min(before, len(frames)), frames

    def _resync(self, data: bytes, at: int) -> int:
        found = data.find(b"\xff", at + 1)
        found = len(data) if found < 0 else found
        self.lost += found - at
        return found

    def _frame(self, key: int, frame: bytes) -> bytes:
        """Read a frame's configuration; return its audio data, or nothing while its channels are unknown.

        Where the header does not name the channels, the stream's first frames start with a program config element; it
        becomes part of the configuration. FFmpeg writes it once, at the start.
        """
        kind, rate, channels = (key >> 8) + 1, key >> 4 & 15, key & 7
        program = self._program
        if not channels and (found := frame_program(frame)) is not None:
            program, frame = found
        if key != self._key or program != self._program:
            self.untold = not channels and program is None
            config = None if self.untold else build_aac(kind, rate, channels, program)
            if config is not None:
                read_aac(config)
            self.config, self._key, self._program = config, key, program
        return b"" if self.untold else frame


def split_opus(data: bytes) -> list[bytes]:
    """Return the Opus packets of a PES packet; each follows its opus_control_header."""
    packets: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= 3 and data[at] == 0x7F and data[at + 1] & 0xE0 == 0xE0:
        flags = data[at + 1]
        at += 2
        size = 0
        while at < end:
            byte = data[at]
            size += byte
            at += 1
            if byte != 0xFF:
                break
        at += 2 * (flags >> 4 & 1) + 2 * (flags >> 3 & 1)  # start trim, end trim
        if flags & 4 and at < end:  # control extension
            at += 1 + data[at]
        if size and at + size <= end:
            packets.append(data[at : at + size])
        at += size
    return packets


def opus_track(code: int) -> TrackConfig | None:
    """Describe an Opus track by its channel_config_code; None for codes that are not supported."""
    channels = 2 if code == 0 else code
    return opus_config(opus_head(channels)) if 1 <= channels <= 8 else None
