"""Images of clips: what is wanted, and what was made."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from shared.messages.base import Record, StoreKey

ImageKind = Literal["poster", "thumbnail"]
ImageFormat = Literal["jpeg", "png", "webp"]
ENDINGS: Final[dict[ImageFormat, str]] = {"jpeg": "jpg", "png": "png", "webp": "webp"}
SMALLEST_IMAGE: Final = 16
LARGEST_IMAGE: Final = 3840


class ImageWish(Record):
    """An image of a clip that is wanted; pixels. With one side the aspect is kept, with both the picture is cropped."""

    kind: ImageKind
    at_us: int | None = Field(None, ge=0, description="Microseconds into the clip; null: the best of ten frames")
    width: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    height: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    format: ImageFormat = "jpeg"
    quality: int = Field(85, ge=1, le=100)


class ClipImage(Record):
    """How far an image of a clip is; `tries` have begun."""

    kind: ImageKind
    format: ImageFormat
    state: Literal["waiting", "ready", "failed"] = "waiting"
    tries: int = Field(0, ge=0)
    key: StoreKey | None = None
    width: int = 0
    height: int = 0
    bytes: int = 0
    at_us: int = Field(0, ge=0, description="Of the frame, microseconds into the clip")
    error: str = Field("", max_length=512)
