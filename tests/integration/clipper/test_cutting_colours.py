"""Colour and light: what a recorder writes down of them, and that no decoder sees them change in a clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.sidedata.sidedata import Type

from services.clipper.cutting import CutSource, Run, Segment, cut_exact, cut_fast, plan_cut, verify_clip
from shared.media.mp4.hdr import colour_of
from shared.media.mp4.init import parse_init
from shared.media.tracks import TrackConfig
from tests.support.framecode import play
from tests.support.framecode_record import Spec, encode
from tests.support.media_recording import Recorded, pieces

GOP, FRAMES = 30, 120
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
MDCV = bytes.fromhex("33c2 86c4 1d4c 0bb8 84d0 3e80 3d13 4042 00989680 00000032".replace(" ", ""))
CLLI = bytes.fromhex("03e80190")


def colours(primaries: str, transfer: str, matrix: str, *more: str) -> tuple[str, ...]:
    return "-vf", f"setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}", *more


PQ, HLG = colours("bt2020", "smpte2084", "bt2020nc"), colours("bt2020", "arib-std-b67", "bt2020nc")
TEN_BITS = colours("bt2020", "bt2020-10", "bt2020nc")
SD = colours("smpte170m", "smpte170m", "smpte170m", "-aspect", "4:3")
FULL = colours("bt709", "iec61966-2-1", "bt709", "-color_range", "pc")
HDR10 = f"hdr10=1:repeat-headers=1:master-display={DISPLAY}:max-cll=1000,400"
AV1_HDR = (
    "-svtav1-params scd=0:lp=2:content-light=1000,400:"
    "mastering-display=G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.005)"
)
CASES: dict[str, tuple[Spec, str, tuple[int, int, int], bool]] = {
    "hdr10 by flv": (Spec("hevc", pixels="yuv420p10le", encoder=HDR10, options=PQ), ".flv", (9, 16, 9), True),
    "hdr10 by ts": (Spec("hevc", pixels="yuv420p10le", encoder=HDR10, options=PQ), ".ts", (9, 16, 9), True),
    "hdr10 in av1": (
        Spec("av1", pixels="yuv420p10le", bframes=0, encoder=AV1_HDR, options=PQ), ".flv", (9, 16, 9), True,
    ),
    "hlg": (Spec("hevc", pixels="yuv420p10le", options=HLG), ".flv", (9, 18, 9), False),
    "hlg, told by sei": (
        Spec(pixels="yuv420p10le", encoder="alternative-transfer=arib-std-b67", options=TEN_BITS),
        ".ts", (9, 18, 9), False,
    ),
    "sd, long pixels": (Spec(options=SD), ".ts", (6, 6, 6), False),
    "full range": (Spec(options=FULL), ".flv", (1, 13, 1), False),
    "one gop": (
        Spec("hevc", pixels="yuv420p10le", bframes=0, encoder=HDR10, options=PQ, gop=300), ".flv", (9, 16, 9), True,
    ),
}  # fmt: skip


def recorded(spec: Spec, suffix: str, folder: Path) -> CutSource:
    encode(spec, folder / f"source{suffix}")
    made = Recorded(folder / "recording")
    made.run("flv" if suffix == ".flv" else "mpegts", pieces((folder / f"source{suffix}").read_bytes()))
    segments = tuple(Segment(s.path, s.start, s.duration) for s in made.segments)
    return CutSource((Run(made.init(), segments, Fraction(0), "a" * 32),))


def told(frame: av.VideoFrame) -> tuple[Any, ...]:
    """What a frame says of its light and colour."""
    kinds = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
    light = tuple(bytes(found) if (found := frame.side_data.get(kind)) is not None else b"" for kind in kinds)
    colours = int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
    return frame.format.name, *colours, *light


def boxes(config: TrackConfig) -> tuple[bool, bool]:
    return b"mdcv" + MDCV in config.sample_entry, b"clli" + CLLI in config.sample_entry


@pytest.mark.parametrize("name", CASES)
def test_light_and_colour_stay_as_recorded(name: str, tmp_path: Path) -> None:
    spec, suffix, code, lit = CASES[name]
    spec = Spec(**{**spec.__dict__, "gop": max(spec.gop, GOP) if spec.gop > 60 else GOP, "seconds": Fraction(4)})
    source = recorded(spec, suffix, tmp_path)
    [config] = [c for c in parse_init(source.runs[0].init.read_bytes()) if c.kind == "video"]
    colour = colour_of(config)
    assert colour is not None
    assert colour[:3] == code
    assert boxes(config) == (lit, lit)
    plan = plan_cut(source, Fraction(1, 2), Fraction(3))
    for cut in (cut_fast, cut_exact):
        result = cut(plan, tmp_path / f"{cut.__name__}.mp4")
        verify_clip(result, plan)
        assert [line for line in play(result.path).warnings.splitlines() if "swscaler" not in line] == []
        [made] = [c for c in parse_init(result.path.read_bytes()) if c.kind == "video"]
        assert colour_of(made) == colour
        assert boxes(made) == (lit, lit)
        assert (b"pasp" in made.sample_entry) == (b"pasp" in config.sample_entry) == ("-aspect" in spec.options)
        with av.open(str(result.path)) as clip:
            shown = {told(frame) for frame in clip.decode(video=0)}
            assert (clip.streams.video[0].sample_aspect_ratio == Fraction(3, 4)) == ("-aspect" in spec.options)
        assert len(shown) == 1, [each[:5] for each in shown]
        assert bool(shown.pop()[5]) == lit
