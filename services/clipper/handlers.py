"""The clipper's handlers."""

from __future__ import annotations

from dataclasses import dataclass

from services.clipper.images.moments import Moments
from services.clipper.removal import Removal
from services.clipper.work import ClipWork
from shared.messages.clips import (
    ClipCancel,
    ClipCopyLong,
    ClipCreate,
    ClipDelete,
    ClipMessage,
    ClipPicture,
    ClipRefine,
    ClipRefineLong,
)
from shared.messages.exports import ExportAborted, ExportDelivered, ExportFailed, ExportStarted
from shared.messages.live import JobStateChanged
from shared.messages.pictures import RecordingPicture


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per durable consumer."""

    work: ClipWork
    removal: Removal
    moments: Moments

    async def create(self, message: ClipCreate) -> None:
        """`clips.create`."""
        await self.work.create(message)

    async def refine(self, message: ClipRefine) -> None:
        """`clips.refine`."""
        await self.work.refine(message)

    async def copy_long(self, message: ClipCopyLong) -> None:
        """`clips.copy_long`."""
        await self.work.copy_long(message)

    async def refine_long(self, message: ClipRefineLong) -> None:
        """`clips.refine_long`."""
        await self.work.refine_long(message)

    async def picture(self, message: ClipPicture) -> None:
        """`clips.picture`."""
        await self.work.picture(message)

    async def moment(self, message: RecordingPicture) -> None:
        """`recordings.picture`."""
        await self.moments.make(message)

    async def cancel(self, message: ClipCancel) -> None:
        """`clips.cancel`."""
        await self.work.cancel(message)

    async def delete(self, message: ClipDelete) -> None:
        """`clips.delete`."""
        await self.removal.delete(message)

    async def job(self, event: JobStateChanged) -> None:
        """`live.job.state_changed`."""
        await self.work.waiting.job_changed(event)

    async def sending(self, message: ExportStarted) -> None:
        """`exports.started`."""
        await self.work.sending(message)

    async def delivered(self, message: ExportDelivered) -> None:
        """`exports.delivered`."""
        await self.work.export_ended(message)

    async def undelivered(self, message: ExportFailed) -> None:
        """`exports.failed`."""
        await self.work.export_ended(message)

    async def aborted(self, message: ExportAborted) -> None:
        """`exports.aborted`."""
        await self.work.export_ended(message)

    async def moment_died(self, body: bytes, reason: str) -> None:
        """Record that a picture of a moment cannot be made, after the last attempt."""
        await self.moments.give_up(RecordingPicture.model_validate_json(body), reason)

    async def create_died(self, body: bytes, reason: str) -> None:
        """Fail a clip after the last attempt to create it."""
        order = ClipCreate.model_validate_json(body)
        await self.work.clips.begin(order, "processing")
        await self.work.fail(order.account, order.clip, reason)

    async def cut_died(self, body: bytes, reason: str) -> None:
        """Fail a clip after the last attempt to make one of its files."""
        order = ClipMessage.model_validate_json(body)
        await self.work.fail(order.account, order.clip, reason)

    async def picture_died(self, body: bytes, reason: str) -> None:
        """Give the images of a clip up after the last attempt to make them."""
        order = ClipPicture.model_validate_json(body)
        await self.work.images.give_up(order.account, order.clip, reason)
