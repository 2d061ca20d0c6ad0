"""Clips: from a request to commands, and from commands and records back to what a client sees."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Final, TypeVar, get_args

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from services.gateway.domain.clips.window import BadWindow, Recording, Window, resolve
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.lists import CLIP_JOB, CLIP_STATE, clips_list
from services.gateway.domain.lists.orders import Span, Time, Wanted
from services.gateway.domain.quotas import Quotas, Tally
from services.gateway.domain.soon import soon
from services.gateway.domain.urls import receiver_url
from services.gateway.http.paging import Page, Paging
from services.gateway.http.problems import ApiError, FieldError, bad_field, bad_fields, not_found
from services.gateway.native.clips.models import ClipsAsk, NotificationAsk, Output
from shared.bus import Outbox
from shared.clock import Clock
from shared.errors import Unavailable
from shared.kv import Bucket
from shared.media.timeline import place
from shared.messages.clips import ClipCancel, ClipCreate, ClipDelete, ClipRecord, Notification, VodState
from shared.messages.jobs import EventClock, JobRecord, clock_key
from shared.messages.media import SegmentWritten
from shared.recording import last_segment
from shared.secrets import Vault
from shared.settings import Settings
from shared.subjects import channel_of
from shared.webhooks import seal_url

# A cut begins at the keyframe before the in point, which the clipper looks for in the ten minutes before it.
BEFORE_MS: Final = 600_000
# A segment of the longest kind, and what the clocks of encoder and machine may differ by.
BEHIND_MS: Final = 60_000
REMEMBERED_CLOCKS: Final = 10_000
NOTIFICATIONS: Final = 16
ENDED: Final[frozenset[VodState]] = frozenset({"finished", "cancelled", "failed", "error"})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
QUEUE: Final = channel_of(ClipCreate).stream
C = TypeVar("C", ClipCreate, ClipCancel)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a clip: the clipper's record, or, until it has written one, the command.

    `cancelling`: the clipper has not come to the cancellation yet.
    """

    request: ClipCreate
    record: ClipRecord | None
    cancelling: bool = False

    @property
    def state(self) -> VodState:
        """The state that clients see."""
        if self.record and self.record.state in ENDED:
            return self.record.state
        return "cancelling" if self.cancelling else self.record.state if self.record else "waiting"

    @property
    def created_ms(self) -> int:
        """When it was asked for."""
        return self.record.created_ms if self.record else self.request.requested_ms

    @property
    def changed_ms(self) -> int:
        """When it changed last."""
        return self.record.changed_ms if self.record else self.request.requested_ms


def file_name(label: str, clip: str) -> str:
    """Name a clip's file after its label, safely and uniquely."""
    slug = _UNSAFE.sub("-", label).strip("-._")[:80].rstrip("-._")
    return f"{slug}-{clip}.mp4" if slug else f"{clip}.mp4"


class Clips:
    """Accepts clips and finds them."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        jobs: Jobs,
        vault: Vault,
        settings: Settings,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.going = Tally(jetstream, "clips", ENDED)
        self._quotas = quotas
        self._jetstream = jetstream
        self._outbox = outbox
        self._jobs = jobs
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._records = Bucket(jetstream, "clips", ClipRecord)
        self.list = clips_list(jetstream)
        self._clocks = Bucket(jetstream, "sessions", EventClock)
        self._first_frames: OrderedDict[str, int] = OrderedDict()

    async def create(self, account: str, job_id: str, asked: ClipsAsk, ids: Callable[[int], str]) -> list[ClipCreate]:
        """Check all outputs, then order all clips; ApiError 404, 400 or 429 orders none."""
        self._quotas.outputs(len(asked.outputs))
        job = await self._jobs.get(account, job_id)
        last = await last_segment(self._jetstream(), account, job_id)
        recording = await self._recording(job, last)
        windows = _resolve_all(asked.outputs, recording)
        receivers = self._all_receivers(asked)
        now = self._clock.now_ms()
        commands = []
        for position, (output, window) in enumerate(zip(asked.outputs, windows, strict=True)):
            clip = ids(position)
            command = ClipCreate(
                account=account,
                clip=clip,
                event=job_id,
                label=output.label,
                selection=window.selection,
                requested_ms=now,
                live=not job.ended,  # of a static job between two streams too: nothing from after the request is its
                asked_duration=window.asked_duration,
                recorded_to=place(last).end if last else None,
                wait=window.wait,
                file_name=file_name(output.label, clip),
                notifications=receivers[position],
            )
            commands.append(command)
        ids_made, known = [command.clip for command in commands], partial(self.going.knows, account)
        async with self._quotas.room(account, "clips in work", partial(self._going, account), ids_made, known):
            await asyncio.gather(*(self._outbox.emit(command) for command in commands))
        return commands

    async def _going(self, account: str) -> frozenset[str]:
        """Give the clips that are in work, or that no clipper has taken up."""
        named = await self._named(account)
        return await self.going.of(account) | {clip for channel, clip in named if channel == ClipCreate.channel}

    def _all_receivers(self, asked: ClipsAsk) -> list[tuple[Notification, ...]]:
        """Check the receivers' URLs and give each output's, sealed, those of the whole request included."""
        shared = self._receivers("", asked.notifications)
        found = []
        for position, output in enumerate(asked.outputs):
            field = f"outputs[{position}].notifications"
            receivers = list(dict.fromkeys(self._receivers(f"outputs[{position}].", output.notifications) + shared))
            if len(receivers) > NOTIFICATIONS:
                raise bad_field(field, f"a clip has at most {NOTIFICATIONS}")
            sealed = (one.model_copy(update={"url": seal_url(self._vault, one.url)}) for one in receivers)
            found.append(tuple(sealed))
        return found

    def _receivers(self, prefix: str, asked: list[NotificationAsk]) -> list[Notification]:
        named = ((f"{prefix}notifications[{position}].url", one) for position, one in enumerate(asked))
        return [Notification(url=receiver_url(name, one.url, self._settings), event=one.event) for name, one in named]

    async def _recording(self, job: JobRecord, last: SegmentWritten | None) -> Recording:
        first = await self._first_frame(job)
        if first is None:
            raise ApiError(400, "nothing has been published to this job yet", code="STREAM_NOT_STARTED")
        now = self._clock.now_ms()
        publishing = not job.ended and (bool(job.open_sessions) or job.media_end_ms is None)
        live = not job.ended and job.state != "waiting"
        end = now if publishing else job.finished_ms or job.media_end_ms or now
        if not live and now - end > self._settings.retention.total_seconds() * 1000:
            raise ApiError(400, "the recording of this job is no longer kept", code="RECORDING_EXPIRED")
        return self._up_to(Recording(job.created_ms, first, end, Fraction(0), live, publishing), last)

    def _up_to(self, recording: Recording, last: SegmentWritten | None) -> Recording:
        """Say in stream time where the recording ends; an encoder's clock and ours part within hours."""
        if last is None:
            return replace(recording, stream_end=Fraction(recording.end_ms - recording.first_frame_ms, 1000))
        placed = place(last)
        end_ms = max(recording.end_ms, int(placed.wall_end * 1000))
        since = Fraction(end_ms, 1000) - placed.wall_end if recording.publishes else Fraction(0)
        return replace(recording, end_ms=end_ms, stream_end=placed.end + max(since, Fraction(0)))

    async def _first_frame(self, job: JobRecord) -> int | None:
        return await self._first_frame_of(job.account, job.event)

    async def _first_frame_of(self, account: str, event: str) -> int | None:
        """Read when the event's first frame came; it never changes."""
        if found := self._first_frames.get(event):
            return found
        stored = await self._clocks.get(clock_key(account, event))
        if stored is None:
            return None
        self._first_frames[event] = stored.value.first_frame_ms
        if len(self._first_frames) > REMEMBERED_CLOCKS:
            self._first_frames.popitem(last=False)
        return stored.value.first_frame_ms

    async def find(self, account: str, clip: str) -> Known:
        """Find an account's clip; ApiError 404 when it has none of this id."""
        place = f"{account}.{clip}"
        stored = await self._records.get(place)
        if stored and stored.value.state in ENDED:
            return Known(stored.value.request, stored.value)
        pending, cancelling = await asyncio.gather(
            self._pending(ClipCreate, account, clip), self._pending(ClipCancel, account, clip)
        )
        if stored := await self._records.get(place):  # a command that is gone now has been written into it
            return Known(stored.value.request, stored.value, cancelling is not None)
        if pending is None:
            raise not_found("clip")
        return Known(pending, None, cancelling is not None)

    async def _pending(self, command: type[C], account: str, clip: str) -> C | None:
        """Read a command that no clipper has done yet."""
        try:
            message = await self._jetstream().get_last_msg(QUEUE, f"{command.channel}.{account}.{clip}")
        except NotFoundError:
            return None
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"commands: {type(error).__name__}") from error
        return command.model_validate_json(message.data or b"")

    async def page(self, account: str, wanted: Wanted, takes: Callable[[Known], bool], paging: Paging) -> Page[Known]:
        """Give a page of an account's clips: those in order, and among them the few that have commands waiting."""
        loose = await self._loose(account)
        count = paging.page_size + 1
        entries = await self.list.find(account, wanted, paging, count + len(loose))
        settled = [entry.ident for entry in entries if entry.ident not in loose][:count]
        records = await self.list.read(account, settled)
        if len(records) < len(settled):  # some are gone, and forgotten by now
            return await self.page(account, wanted, takes, paging)
        found = [Known(record.request, record) for record in records.values()]
        return paging.apply([*found, *filter(takes, loose.values())], lambda k: _time(k, paging))

    async def in_work(self, account: str, event: str, start_ms: int, end_ms: int) -> bool:
        """Tell whether a clip that has not ended needs anything of a job's recording between two times."""
        working = sorted(set(get_args(VodState)) - ENDED)
        found = [await self.list.idents(account, Wanted({CLIP_JOB: event, CLIP_STATE: state})) for state in working]
        records = await self.list.read(account, [ident for some in found for ident in some])
        known = {clip: Known(record.request, record) for clip, record in records.items()}
        known |= {clip: one for clip, one in (await self._loose(account)).items() if one.request.event == event}
        zero_ms = await self._first_frame_of(account, event) or 0
        spans = [needed(one.request, zero_ms) for one in known.values() if one.state not in ENDED]
        return any(first < end_ms and last > start_ms for first, last in spans)

    async def delete(self, account: str, clip: str) -> bool:
        """Have a clip removed; whether that is done already. ApiError 404, or 409 while it is in work."""
        known = await self.find(account, clip)
        if known.state not in ENDED:
            raise ApiError(409, f"the clip is {known.state}: cancel it first")
        await self._outbox.emit(ClipDelete(account=account, clip=clip, at_ms=self._clock.now_ms()))
        return await soon(lambda: self._is_gone(f"{account}.{clip}"))

    async def _is_gone(self, key: str) -> bool:
        return await self._records.get(key) is None

    async def _loose(self, account: str) -> dict[str, Known]:
        """Find the clips that no clipper has taken up, and those whose cancellations wait."""
        waiting, cancelling = await self._all_pending(account)
        known = await self.list.current(account)
        ids = [command.clip for command in waiting if command.clip in known] + sorted(cancelling)
        records = await self.list.read(account, [clip for clip in dict.fromkeys(ids) if clip in known])
        found = {c.clip: Known(c, None, c.clip in cancelling) for c in waiting if c.clip not in records}
        return found | {clip: Known(r.request, r, clip in cancelling) for clip, r in records.items()}

    async def _all_pending(self, account: str) -> tuple[list[ClipCreate], set[str]]:
        """Read the commands that no clipper has taken up, at most the first thousand, and whose cancellations wait."""
        named = await self._named(account)
        ids = [clip for channel, clip in named if channel == ClipCreate.channel][:1000]
        found = await asyncio.gather(*(self._pending(ClipCreate, account, clip) for clip in ids))
        cancelling = {clip for channel, clip in named if channel == ClipCancel.channel}
        return [command for command in found if command], cancelling

    async def _named(self, account: str) -> list[tuple[str, ...]]:
        """List the commands about an account's clips that wait: channel and clip of each."""
        domain = ClipCreate.channel.partition(".")[0]
        try:
            info = await self._jetstream().stream_info(QUEUE, subjects_filter=f"{domain}.*.{account}.*")
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"commands: {type(error).__name__}") from error
        return [tuple(subject.rsplit(f".{account}.", 1)) for subject in info.state.subjects or {}]


def _time(known: Known, paging: Paging) -> Time:
    return (known.changed_ms if paging.sort == "modified_at" else known.created_ms), known.request.clip


def needed(request: ClipCreate, zero_ms: int) -> Span:
    """Give from when to when (ms) a clip may need the recording: from a keyframe before it, found by either clock."""
    zero_ms = 0 if request.selection.clock == "wall" else zero_ms
    start, end = (zero_ms + int(point * 1000) for point in (request.selection.start, request.selection.end))
    return start - BEFORE_MS, end + BEHIND_MS


def _resolve_all(outputs: list[Output], recording: Recording) -> list[Window]:
    windows: list[Window] = []
    errors: list[FieldError] = []
    for position, output in enumerate(outputs):
        try:
            windows.append(resolve(output, recording))
        except BadWindow as error:
            errors.append(FieldError(field=f"outputs[{position}].{error.field}", message=str(error)))
    if errors:
        raise bad_fields(errors)
    return windows
