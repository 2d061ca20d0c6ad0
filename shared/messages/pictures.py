"""Pictures of moments of a recording: what is wanted, and what was made."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final, Literal

from pydantic import Field

from shared.messages.base import HexId, Message, Millis, Record, StoreKey
from shared.messages.images import LARGEST_IMAGE, SMALLEST_IMAGE
from shared.messages.media import Track
from shared.messages.ranges import Seconds

PictureForm = Literal["jpeg", "png", "webp", "mp4"]
PICTURE_ENDINGS: Final[dict[PictureForm, str]] = {
    "jpeg": "jpg", "png": "png", "webp": "webp", "mp4": "mp4",
}  # fmt: skip
PICTURE_LIFE: Final = timedelta(hours=1)
"""So long a record says that a picture is there; its file lives twice as long."""


class RecordingPicture(Message):
    """Make a picture of a moment of a recording; what came of it goes to `pictures`."""

    channel: ClassVar[str] = "recordings.picture"

    event: HexId
    picture: HexId = Field(description="The same for the same picture")
    track: Track
    at: Seconds = Field(description="Stream time; the frame on show then")
    form: PictureForm = Field(description="mp4: the keyframe at or before the moment, as a film of one frame")
    width: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    height: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    quality: int = Field(85, ge=1, le=100)
    at_ms: Millis = Field(description="When it was wanted; an order that is not newer than the record changes nothing")

    @property
    def subject_id(self) -> str:
        """Return the picture's id."""
        return self.picture

    @property
    def dedup_id(self) -> str:
        """Return one id per picture and moment of asking."""
        return f"recording-picture-{self.picture}-{self.at_ms}"


class PictureRecord(Record):
    """A picture of a moment, in `pictures` under `<account>.<picture>`; written by the clipper."""

    account: str
    picture: HexId
    asked_ms: Millis
    key: StoreKey | None = Field(None, description="In the store; null: it could not be made")
    bytes: int = 0
    width: int = 0
    height: int = 0
    at: Seconds | None = Field(None, description="Stream time of the frame")
    error: str = Field("", max_length=512)
