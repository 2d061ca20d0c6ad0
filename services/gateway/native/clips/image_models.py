"""Images of clips in requests and answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from services.gateway.http.bodies import ExactSeconds, no_boolean
from shared.messages.images import LARGEST_IMAGE, SMALLEST_IMAGE, ImageFormat, ImageKind


class ImageAsk(BaseModel):
    """An image of a clip. With one side the aspect is kept, with both the picture is cropped to fill them."""

    at: ExactSeconds | None = Field(None, description="Seconds into the clip; absent: the best of ten frames")
    best: bool = Field(default=False, description="The best of ten frames, as without `at`")
    width: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    height: int | None = Field(None, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    format: ImageFormat = "jpeg"
    quality: int = Field(85, ge=1, le=100, description="Of JPEG and WebP")

    _numbers = field_validator("width", "height", "quality", mode="before")(no_boolean)

    @field_validator("at")
    @classmethod
    def _not_before(cls, value: ExactSeconds | None) -> ExactSeconds | None:
        if value is not None and value < 0:
            raise ValueError("must not be negative")
        return value

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if self.best and self.at is not None:
            raise ValueError("takes at or best, not both")
        return self


class ImagesAsk(BaseModel):
    """The images of a clip."""

    poster: ImageAsk | None = None
    thumbnail: ImageAsk | None = Field(None, description="320 pixels wide unless a size is given")


class ImageView(BaseModel):
    """An image of a clip, and how far it is."""

    kind: ImageKind
    state: Literal["waiting", "ready", "failed"]
    url: str | None = Field(None, description="Once it is ready")
    signed_url: str | None = Field(None, description="The same without an API key, for 24 hours")
    at: float | None = Field(None, description="Of its frame, s into the clip")
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    error: str = ""
