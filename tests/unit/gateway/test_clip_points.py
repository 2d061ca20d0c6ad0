"""Points of a reel whose ranges are of different activations, by the stream time of each."""

from __future__ import annotations

from fractions import Fraction

from services.gateway.domain.clips.points import gap_start, points_of
from shared.messages.clips import ClipCreate, ClipFile
from shared.messages.destinations import DestinationSpec
from shared.messages.ranges import Gap, MadeRange, ReelRange, Selection

DAY = Fraction(86_400)
CLIP = "c" * 32


def ranged(event: str, zero: Fraction, start: int, end: int) -> ReelRange:
    selection = Selection(clock="stream", start=zero + start, end=zero + end)
    return ReelRange(
        event=event * 32, selection=selection, asked_duration=selection.end - selection.start, live=False, zero=zero
    )


def made(zero: Fraction, start: int, end: int) -> MadeRange:
    return MadeRange(in_point=zero + start, out_point=zero + end, duration=Fraction(end - start), frames=1)


def reel(*parts: ReelRange) -> ClipCreate:
    return ClipCreate(
        account="main", clip=CLIP, event=parts[0].event, selection=parts[0].selection, requested_ms=0, live=False,
        asked_duration=Fraction(20), zero=parts[0].zero, ranges=parts,
        destinations=(DestinationSpec(export=CLIP, file_name="a.mp4"),),
    )  # fmt: skip


def file(first: MadeRange, last: MadeRange, *ranges: MadeRange) -> ClipFile:
    return ClipFile(
        accuracy="frame", key="clips/main/a/frame.mp4", bytes=1, sha256="0" * 64, in_point=first.in_point,
        out_point=last.out_point, duration=Fraction(20), frames=2, method="smart", ranges=ranges,
    )  # fmt: skip


def test_each_point_counts_from_its_own_activation() -> None:
    order = reel(ranged("a", DAY, 4, 14), ranged("b", Fraction(0), 4, 14))
    first, last = made(DAY, 4, 14), made(Fraction(0), 4, 13)
    assert points_of(order, file(first, last, first, last)) == (4, 13)
    assert points_of(order, file(last, last, MadeRange(), last)) == (4, 13)
    assert gap_start(order, Gap(start=DAY + 14, duration=Fraction(1))) == 14
    assert gap_start(order, Gap(start=Fraction(13), duration=Fraction(1), range=1)) == 13


def test_a_clip_is_a_reel_of_one_range() -> None:
    order = reel(ranged("a", DAY, 4, 14)).model_copy(update={"ranges": ()})
    assert points_of(order, file(made(DAY, 4, 14), made(DAY, 4, 13))) == (4, 13)
