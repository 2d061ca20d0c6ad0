"""Clips as they are requested, and the commands that order them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.gateway.domain.clips.edits import NOTHING, NewEdit
from services.gateway.domain.clips.encryption import NewEncryption
from services.gateway.domain.clips.ranges import NewRange, total
from services.gateway.domain.clips.window import ClipRange, TimecodeRange
from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.told import Receiver
from shared.messages.base import Notification
from shared.messages.clips import ClipCreate, ClipEncryption, FacadeNote
from shared.messages.destinations import DestinationSpec
from shared.messages.edits import PictureEdit
from shared.messages.images import ImageWish
from shared.messages.ranges import ReelRange


@dataclass(frozen=True, slots=True)
class NewClip:
    """A requested clip; `field` is its name in the request, for errors. `instant`: a playlist, and no file.

    A reel has `ranges`, in place of its `range`.
    """

    field: str
    label: str
    range: ClipRange | TimecodeRange
    receivers: tuple[Receiver, ...] = ()
    destinations: tuple[NewDestination, ...] = ()
    instant: bool = False
    images: tuple[ImageWish, ...] = ()
    note: FacadeNote | None = None
    ranges: tuple[NewRange, ...] = ()
    edit: NewEdit = NOTHING
    encryption: NewEncryption | None = None


class Settled(NamedTuple):
    """A requested clip, checked: its id, and what its command says of it."""

    asked: NewClip
    clip: str
    ranges: Sequence[ReelRange]
    destinations: tuple[DestinationSpec, ...]
    receivers: tuple[Notification, ...]
    edit: PictureEdit | None
    encryption: ClipEncryption | None


def ranges_of(asked: NewClip, job: str) -> tuple[NewRange, ...]:
    """Return the ranges of a clip of a job."""
    return asked.ranges or (NewRange(asked.field, job, asked.range),)


def command_of(account: str, job: str, now_ms: int, one: Settled) -> ClipCreate:
    """Return the command that orders a clip of a job."""
    asked, first = one.asked, one.ranges[0]
    return ClipCreate(
        account=account,
        clip=one.clip,
        event=job,
        label=asked.label,
        selection=first.selection,
        requested_ms=now_ms,
        live=any(part.live for part in one.ranges),
        asked_duration=total(one.ranges),
        recorded_to=first.recorded_to,
        wait=any(part.wait for part in one.ranges),
        zero=first.zero,
        instant=asked.instant,
        images=asked.images,
        destinations=one.destinations,
        notifications=one.receivers,
        note=asked.note,
        ranges=tuple(one.ranges) if asked.ranges else (),
        edit=one.edit,
        encryption=one.encryption,
    )
