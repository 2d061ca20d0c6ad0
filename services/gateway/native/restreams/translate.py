"""From bodies of /v1 to the parts of a restream."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from services.gateway.domain.errors import invalid
from services.gateway.domain.restreams.parts import Parts, file_range, wall_range
from services.gateway.domain.restreams.values import first_of, frame_rate
from services.gateway.native.restreams.models import EncodingAsk, RangeAsk, RestreamCreate, SourceAsk, TargetAsk
from shared.messages.restreams import Encoding, Item, LiveInsert, Range, RestreamSpec, Target, Watermark


def spec_of(asked: RestreamCreate, parts: Parts, now_ms: int) -> RestreamSpec:
    """Return the spec of a new restream. Raise Invalid."""
    if asked.end_time is not None and asked.end_time <= max(now_ms, asked.start_time or 0):
        raise invalid("end_time", "must lie in the future, and after start_time")
    return RestreamSpec(
        name=asked.name,
        items=items_of(asked.sources, parts),
        targets=targets_of(asked.targets, parts),
        loops=asked.loop,
        first=first_of(asked.index, len(asked.sources)),
        start_ms=asked.start_time,
        end_ms=asked.end_time,
        encoding=_encoding(asked.encoding) if asked.encoding else None,
        live=LiveInsert(event=asked.live.job_id, back=asked.live.back) if asked.live else None,
        tries=asked.retries,
    )


def targets_of(asked: Sequence[TargetAsk], parts: Parts) -> tuple[Target, ...]:
    """Return the targets of a restream. Raise Invalid."""
    return parts.targets((f"targets[{number}].url", target.url) for number, target in enumerate(asked))


def items_of(asked: Sequence[SourceAsk], parts: Parts) -> tuple[Item, ...]:
    """Return the items of a list. Raise Invalid."""
    return tuple(_item(f"sources[{number}]", source, parts) for number, source in enumerate(asked))


def _item(field: str, asked: SourceAsk, parts: Parts) -> Item:
    mark = asked.watermark
    return Item(
        source=parts.source(f"{field}.url", asked.url, asked.credentials),
        ranges=tuple(_range(f"{field}.ranges[{n}]", r) for n, r in enumerate(asked.ranges)),
        watermark=mark
        and Watermark(
            source=parts.source(f"{field}.watermark.url", mark.url, mark.credentials),
            corner=mark.position,
            margin=mark.margin,
            scale=mark.scale,
            opacity=mark.opacity,
        ),
    )


def _range(field: str, asked: RangeAsk) -> Range:
    if asked.wall_start is None and asked.wall_end is None:
        return file_range(field, asked.start or Fraction(0), asked.end)
    if asked.start is not None or asked.end is not None:
        raise invalid(field, "is either start and end, or wall_start and wall_end")
    if asked.wall_start is None or asked.wall_end is None:
        raise invalid(field, "needs wall_start and wall_end")
    return wall_range(field, asked.wall_start, asked.wall_end)


def _encoding(asked: EncodingAsk) -> Encoding:
    rate = frame_rate("encoding.frame_rate", asked.frame_rate) if asked.frame_rate else None
    return Encoding(
        video=asked.video_codec,
        audio=asked.audio_codec,
        kbps=asked.kbps,
        width=asked.width,
        height=asked.height,
        rate_num=rate.numerator if rate else None,
        rate_den=rate.denominator if rate else 1,
    )
