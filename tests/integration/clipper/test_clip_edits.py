"""Clips whose pictures are cut out and have something laid over them: the same frames, all encoded, the sound kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from services.clipper import watching
from services.clipper.cutting import CutResult, cut_exact, join_plans, plan_cut, verify_clip
from services.clipper.edits.captions import read_captions
from services.clipper.edits.graph import Edit
from services.clipper.edits.render import render_edited
from shared.broker import middleware
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.turns import told_by
from shared.messages.clips import ClipFile
from shared.messages.edits import BurntIn, Crop, LaidOver, PictureEdit
from tests.support.clipper_desk import ACCOUNT, Desk, desk, serving
from tests.support.framecode import BITS, BLOCK, HEIGHT, WIDTH, payloads, play, read_number
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.shared_bus import send
from tests.support.source_server import Server, source_server

Grey = npt.NDArray[np.uint8]
SECONDS = Fraction(4)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Frames 0 to 119."""
    return record(Spec(seconds=SECONDS), tmp_path_factory.mktemp("first"))


def cut(of: Recording, first: int, end: int, edit: Edit, out: Path) -> CutResult:
    plan = plan_cut(of.source(), of.time(first), of.time(end))
    result = cut_exact(plan, out, None, partial(render_edited, edit=edit))
    verify_clip(result, plan)
    return result


def greys(path: Path) -> list[Grey]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def bits(picture: Grey, left: int, count: int) -> list[bool]:
    """Read some bits of a frame's code, which begin `left` pixels from the picture's left."""
    found = []
    for bit in range(count):
        inner = slice(left + bit * BLOCK + 8, left + (bit + 1) * BLOCK - 8)
        top, below = (
            float(picture[8 : BLOCK - 8, inner].mean()),
            float(picture[BLOCK + 8 : 2 * BLOCK - 8, inner].mean()),
        )
        assert abs(top - below) > 40
        found.append(top > below)
    return found


def coded(number: int) -> list[bool]:
    return [bool((number ^ (number >> 1)) >> bit & 1) for bit in range(BITS)]


WINDOWS = [("9:16", 0.0, 102, 0, 3), ("9:16", 1.0, 102, 218, 3), ("1:1", 0.5, 180, 70, 5), ("4:5", 0.25, 144, 8, 4)]


@pytest.mark.parametrize(("aspect", "centre", "width", "left", "count"), WINDOWS)
def test_a_crop_shows_its_part_of_each_frame(
    first: Recording, aspect: Any, centre: float, width: int, left: int, count: int, tmp_path: Path
) -> None:
    out, plain = tmp_path / "crop.mp4", tmp_path / "plain.mp4"
    result = cut(first, 37, 101, Edit(Crop(aspect=aspect, x=centre)), out)
    assert (result.method, result.reason, result.frames, result.encoded) == ("reencode", "asked for: crop", 64, 64)
    pictures = greys(out)
    assert {picture.shape for picture in pictures} == {(HEIGHT, width)}
    bit = -(-left // BLOCK)  # the first whole one
    seen = [bits(picture, bit * BLOCK - left, count - bool(left % BLOCK)) for picture in pictures]
    assert seen == [coded(number)[bit : bit + count - bool(left % BLOCK)] for number in range(37, 101)]
    cut_exact(plan_cut(first.source(), first.time(37), first.time(101)), plain)
    assert sounds(out) == sounds(plain), "the sound's packets are the recording's"
    assert np.array_equal(play(out, video=False).sound, play(plain, video=False).sound)


def sounds(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


SHAPES = {
    "HEVC, 10 bit": Spec("hevc", seconds=SECONDS, pixels="yuv420p10le"),
    "varying rate": Spec(seconds=SECONDS, stamps="vfr"),
    "59.94 a second": Spec(rate=Fraction(60000, 1001), seconds=SECONDS),
    "interlaced": Spec(seconds=SECONDS, encoder="tff=1", options=("-flags", "+ildct+ilme")),
    "AV1": Spec("av1", seconds=SECONDS),
    "VP9": Spec("vp9", seconds=SECONDS),
    "odd pixels": Spec(seconds=SECONDS, options=("-vf", "scale=240:180,setsar=4/3")),
}


@pytest.mark.parametrize("what", SHAPES)
def test_every_frame_is_there_whatever_the_recording_is(what: str, tmp_path: Path) -> None:
    of = record(SHAPES[what], tmp_path / "of")
    result = cut(of, 20, 90, Edit(Crop(aspect="16:9")), tmp_path / "edited.mp4")
    seen = play(tmp_path / "edited.mp4")
    assert (seen.numbers, seen.warnings) == (list(range(20, 90)), "")
    assert result.duration == of.time(90) - of.time(20)
    with av.open(str(tmp_path / "edited.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio or 1) == (WIDTH, HEIGHT, 1)
        assert stream.codec_context.pix_fmt == of.spec.pixels
        assert stream.codec_context.name == ("hevc" if of.spec.codec == "hevc" else "h264")
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))


def test_turned_pictures_are_upright(tmp_path: Path) -> None:
    turned = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=90")
    of = record(Spec(seconds=SECONDS, options=turned), tmp_path / "of")
    cut(of, 20, 50, Edit(Crop(aspect="9:16")), tmp_path / "edited.mp4")
    pictures = greys(tmp_path / "edited.mp4")
    assert {picture.shape for picture in pictures} == {(WIDTH, HEIGHT)}, "that is all of it"
    assert [read_number(np.rot90(picture, -1)) for picture in pictures] == list(range(20, 50))
    with av.open(str(tmp_path / "edited.mp4")) as container:
        assert not any(told_by(frame) for frame in container.decode(video=0))


def test_a_reel_of_different_streams_has_one_size(first: Recording, tmp_path: Path) -> None:
    big = Spec("hevc", gop=30, seconds=SECONDS, first_number=300, options=("-vf", "scale=640:360"))
    other = record(big, tmp_path / "other")
    plan = join_plans([
        plan_cut(of.source(), of.time(begin), of.time(end)) for of, begin, end in ((first, 5, 30), (other, 40, 65))
    ])  # fmt: skip
    out = tmp_path / "reel.mp4"
    verify_clip(cut_exact(plan, out, None, partial(render_edited, edit=Edit(Crop(aspect="1:1", x=0)))), plan)
    assert {picture.shape for picture in greys(out)} == {(360, 360)}
    small = [picture.reshape(180, 2, 180, 2).mean(axis=(1, 3)) for picture in greys(out)]
    assert [bits(picture.astype(np.uint8), 0, 5) for picture in small] == [
        coded(number)[:5] for number in (*range(5, 30), *range(340, 365))
    ]


def test_an_overlay_lies_in_its_corner_and_nowhere_else(first: Recording, tmp_path: Path) -> None:
    logo = np.zeros((20, 40, 4), np.uint8)
    logo[:, :20] = (255, 255, 255, 255)  # its right half is clear
    places = {"TOP_LEFT": (8, 8), "BOTTOM_RIGHT": (WIDTH - 48, HEIGHT - 28), "CENTER": (140, 80)}
    for corner, (x, y) in places.items():
        out = tmp_path / f"{corner}.mp4"
        result = cut(first, 30, 60, Edit(None, Overlay(logo, corner, 8)), out)
        assert result.reason == "asked for: overlay"
        for picture in greys(out):
            assert float(picture[y + 2 : y + 18, x + 2 : x + 18].mean()) > 225
            assert float(picture[y + 2 : y + 18, x + 22 : x + 38].mean()) < 225
        if corner == "BOTTOM_RIGHT":
            assert [read_number(picture) for picture in greys(out)] == list(range(30, 60))
    faint = tmp_path / "faint.mp4"
    cut(first, 30, 60, Edit(None, Overlay(logo, "BOTTOM_RIGHT", 8, scale=50, opacity=25)), faint)
    part = greys(faint)[0][HEIGHT - 88 + 4 : HEIGHT - 8 - 4, WIDTH - 168 + 4 : WIDTH - 88 - 4]
    assert 128 < float(part.mean()) < 200, "half as wide as the picture, and a quarter as white"


def _written(pictures: list[Grey]) -> list[bool]:
    """Return of each picture whether there are letters at its bottom: white ones with black edges."""
    return [int(picture[130:].max()) > 230 and int(picture[130:].min()) < 25 for picture in pictures]


def test_captions_are_on_show_from_their_frame_to_their_last(first: Recording, tmp_path: Path) -> None:
    """Times count from the clip's first frame, whatever was recorded before it."""
    text = b"WEBVTT\n\n00:00.500 --> 00:01.000\nHello\n\n00:01.033 --> 00:01.100\nAgain, a little longer\n"
    out = tmp_path / "said.mp4"
    result = cut(first, 31, 91, Edit(captions=read_captions(text)), out)
    assert result.reason == "asked for: captions"
    pictures = greys(out)
    assert [number for number, shown in enumerate(_written(pictures)) if shown] == [*range(15, 30), 31, 32]
    assert [read_number(picture) for picture in pictures] == list(range(31, 91))
    cropped = tmp_path / "cropped.mp4"
    cut(first, 31, 91, Edit(Crop(aspect="9:16"), captions=read_captions(text)), cropped)
    assert [number for number, shown in enumerate(_written(greys(cropped))) if shown] == [*range(15, 30), 31, 32]


def test_captions_of_a_reel_count_its_own_time(first: Recording, tmp_path: Path) -> None:
    text = b"1\n00:00:00,900 --> 00:00:01,100\nover the join\n"
    plan = join_plans([plan_cut(first.source(), first.time(n), first.time(n + 30)) for n in (60, 7)])
    out, edit = tmp_path / "reel.mp4", Edit(captions=read_captions(text))
    verify_clip(cut_exact(plan, out, None, partial(render_edited, edit=edit, every=plan.exact.spans)), plan)
    assert [number for number, shown in enumerate(_written(greys(out))) if shown] == list(range(27, 33))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(nats, tmp_path, allow_nets="127.0.0.0/8") as found:
        yield found


def png(width: int, height: int) -> bytes:
    """Encode a white picture."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "rgba", Fraction(1)
    frame = av.VideoFrame.from_ndarray(np.full((height, width, 4), 255, np.uint8), format="rgba")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def laid(kind: Any, location: str, **how: Any) -> PictureEdit:
    return PictureEdit(
        crop=Crop(aspect="4:5", x=0),
        overlay=LaidOver(kind=kind, location=location, shown=location, corner="BOTTOM_LEFT", margin=8, **how),
    )


@pytest.fixture
def web() -> Iterator[Server]:
    with source_server() as server:
        yield server


async def test_from_order_to_delivery_with_a_logo_of_the_library_and_of_a_server(
    at: Desk, first: Recording, web: Server
) -> None:
    await at.announce(at.session(first))
    folder = at.settings.library_dir / ACCOUNT
    folder.mkdir(parents=True)
    (folder / "logo.png").write_bytes(png(40, 20))
    web.put("/logo.png", png(40, 20))
    orders = [at.order(1, 3, edit=laid("library", "logo.png")), at.order(1, 3, edit=laid("url", web.url("/logo.png")))]
    async with serving(at):
        for order in orders:
            await send(at.js, order, times=2)
            ended = await at.ended(order.clip)
            assert (ended.state, ended.error) == ("finished", "")
            file = ended.file
            assert isinstance(file, ClipFile)
            assert (file.method, file.reason) == ("reencode", "asked for: crop, overlay")
            assert await at.told(order.clip) == ["processing", "clips.frame_accurate.ready", "finished"]
            pictures = greys(at.file(order.clip))
            assert {picture.shape for picture in pictures} == {(180, 144)}
            assert [bits(picture, 0, 4) for picture in pictures] == [coded(number)[:4] for number in range(30, 90)]
            assert min(float(picture[154:170, 10:46].mean()) for picture in pictures) > 225
            assert len(payloads(at.file(order.clip))) == 60


BAD = {
    "no such name": (laid("library", "none.png"), "not in the library"),
    "no picture": (laid("library", "text.png"), "not a PNG"),
    "a broken picture": (laid("library", "broken.png"), "cannot be decoded"),
    "a bomb": (laid("library", "bomb.png"), "at most 4096 a side"),
    "no captions": (
        PictureEdit(captions=BurntIn(kind="library", location="text.png", shown="x")),
        "neither WebVTT nor",
    ),
    "a forbidden address": (laid("url", "http://169.254.169.254/logo.png"), "no address that may be reached"),
    "not found": (laid("url", "MISSING"), "HTTP 404"),
    "too large": (laid("url", "LARGE"), "larger than 4 MiB"),
}


async def test_a_logo_that_cannot_be_used_fails_the_clip_and_says_why(at: Desk, first: Recording, web: Server) -> None:
    await at.announce(at.session(first))
    folder = at.settings.library_dir / ACCOUNT
    folder.mkdir(parents=True)
    whole = png(40, 20)
    (folder / "text.png").write_bytes(b"hello" * 100)
    (folder / "broken.png").write_bytes(whole[:40] + bytes(200))
    (folder / "bomb.png").write_bytes(whole[:16] + (50_000).to_bytes(4, "big") * 2 + whole[24:])
    web.put("/large.png", whole + bytes(5 << 20))
    addresses = {"MISSING": web.url("/none.png"), "LARGE": web.url("/large.png")}
    async with serving(at):
        for asked, reason in BAD.values():
            edit = asked
            laid_over = edit.overlay
            if laid_over is not None and laid_over.location in addresses:
                overlay = laid_over.model_copy(update={"location": addresses[laid_over.location]})
                edit = edit.model_copy(update={"overlay": overlay})
            order = at.order(1, 2, edit=edit)
            await send(at.js, order)
            ended = await at.ended(order.clip)
            assert (ended.state, reason in ended.error) == ("failed", True), ended.error
        good = at.order(1, 2)
        await send(at.js, good)
        assert (await at.ended(good.clip)).state == "finished"
