"""Restreams as clients see them."""

from __future__ import annotations

from fractions import Fraction

from services.gateway.domain.restreams.pending import OVER
from services.gateway.domain.restreams.restreams import KnownRestream
from services.gateway.native.restreams.models import EncodingAsk, LiveAsk, PositionView, RestreamView, TargetView
from shared.messages.restreams import FLICKS, Encoding, PlayoutRecord, RestreamRecord, Target, TargetStatus


def view(known: KnownRestream) -> RestreamView:
    """Return a restream as clients see it; URLs without keys and queries."""
    record, spec = known.record, known.record.spec
    told = {status.target: status for status in known.playout.targets} if known.playout else {}
    return RestreamView(
        id=record.restream,
        name=spec.name,
        account_id=record.account,
        state=record.state,
        reason=record.reason,
        run=record.run,
        sources=[item.source.shown for item in spec.items],
        targets=[_target(target, told.get(target.target), over=record.state in OVER) for target in spec.targets],
        position=_position(known.playout) if known.playout else None,
        loop=spec.loops,
        index=spec.first + 1,
        encoding=_encoding(spec.encoding) if spec.encoding else None,
        live=LiveAsk(job_id=spec.live.event, back=spec.live.back) if spec.live else None,
        retries=spec.tries,
        start_time=spec.start_ms,
        end_time=spec.end_ms,
        created_at=record.created_ms,
        modified_at=changed_ms(record),
        started_at=record.started_ms,
        finished_at=record.finished_ms,
    )


def changed_ms(record: RestreamRecord) -> int:
    """Return when a restream last changed, ms since the epoch."""
    return max(record.changed_ms, record.created_ms)


def _target(target: Target, status: TargetStatus | None, *, over: bool) -> TargetView:
    state = status.state if status else "waiting"
    if over and state != "failed":  # regardless of what its last holder wrote
        state = "removed"
    return TargetView(
        id=target.target,
        url=target.shown,
        state=state,
        since=status.since_ms if status else None,
        error=status.error if status else "",
        connects=status.connects if status else 0,
        sent_bytes=status.sent_bytes if status else 0,
        dropped=status.dropped if status else 0,
    )


def _encoding(encoding: Encoding) -> EncodingAsk:
    rate = Fraction(encoding.rate_num, encoding.rate_den) if encoding.rate_num else None
    return EncodingAsk(
        video_codec=encoding.video,
        audio_codec=encoding.audio,
        kbps=encoding.kbps,
        width=encoding.width,
        height=encoding.height,
        frame_rate=str(rate) if rate else None,
    )


def _position(playout: PlayoutRecord) -> PositionView:
    return PositionView(
        source=playout.cursor.item + 1,
        range=playout.cursor.range + 1,
        loop=playout.cursor.loop + 1,
        position=round(playout.cursor.at / FLICKS, 6),  # for JSON only
        file=playout.file,
        how=playout.how,
        live=playout.live,
        played=playout.played_ms / 1000,
        at=playout.at_ms,
    )
