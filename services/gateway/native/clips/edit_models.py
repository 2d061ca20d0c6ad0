"""Bodies of requests for edited pictures."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, Field, model_validator

from shared.messages.edits import Corner, CropAspect

Part = Annotated[float, Field(ge=0, le=1)]
_CENTRE_HELP: Final = (
    "Of what is cut out, in parts of the picture from its left and its top; a number counts along the side that is "
    "shortened. Near an edge the part lies at the edge"
)


class Point(BaseModel):
    """A point of a picture."""

    x: Part = 0.5
    y: Part = 0.5


class CropAsk(BaseModel):
    """The largest part of each picture that has an aspect."""

    aspect: CropAspect = Field(description="Width to height, as shown")
    center: Part | Point = Field(0.5, description=_CENTRE_HELP)


class FileAsk(BaseModel):
    """A file at an address or in the library."""

    url: str | None = Field(None, min_length=1, max_length=2048, description="http(s)://")
    library: str | None = Field(None, min_length=1, max_length=255, description="Name of a file in the library")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.url is None) == (self.library is None):
            raise ValueError("names one of url and library")
        return self


class OverlayAsk(FileAsk):
    """A PNG, up to 4 MiB, in a corner of each picture."""

    corner: Corner = "TOP_RIGHT"
    margin: int = Field(16, ge=0, le=1024, description="Pixels of the clip")
    scale: int = Field(0, ge=0, le=100, description="Percent of the clip's width; 0: the picture's own size")
    opacity: int = Field(100, ge=1, le=100, description="Percent")


class CaptionsAsk(FileAsk):
    """A WebVTT or SRT file, up to 2 MiB, drawn at the bottom; its times count from the clip's first frame."""

    size: float = Field(5, ge=2, le=20, description="Of the letters, percent of the clip's height")
