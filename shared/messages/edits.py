"""What a clip's pictures are made into: cut out, and something laid over them."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from shared.messages.base import Record

CropAspect = Literal["9:16", "1:1", "4:5", "16:9"]
Corner = Literal["TOP_LEFT", "TOP_RIGHT", "BOTTOM_LEFT", "BOTTOM_RIGHT", "CENTER"]
LARGEST_LOGO: Final = 4 << 20  # bytes of its file
LONGEST_LOGO_SIDE: Final = 4096
LARGEST_CAPTIONS: Final = 2 << 20


class Crop(Record):
    """The largest part of a picture that has an aspect (width to height as shown), around a point of it.

    The point is in parts of the picture from its top left; near an edge the part lies at the edge.
    """

    aspect: CropAspect
    x: float = Field(0.5, ge=0, le=1)
    y: float = Field(0.5, ge=0, le=1)


class LaidOver(Record):
    """A PNG laid over the pictures, in a corner of what is cut out."""

    kind: Literal["url", "library"]
    location: str = Field(max_length=3072, repr=False, description="A sealed http(s) URL, or a name in the library")
    shown: str = Field(max_length=2048, description="For people: without password and query")
    corner: Corner = "TOP_RIGHT"
    margin: int = Field(16, ge=0, le=1024, description="Pixels of the clip")
    scale: int = Field(0, ge=0, le=100, description="Percent of the clip's width; 0: the picture's own size")
    opacity: int = Field(100, ge=1, le=100, description="Percent")


class BurntIn(Record):
    """A caption file, WebVTT or SRT, drawn into the pictures; its times count from the clip's first frame."""

    kind: Literal["url", "library"]
    location: str = Field(max_length=3072, repr=False, description="A sealed http(s) URL, or a name in the library")
    shown: str = Field(max_length=2048, description="For people: without password and query")
    size: float = Field(5, ge=2, le=20, description="Of the letters, percent of the clip's height")


class PictureEdit(Record):
    """What is done to each picture of a clip: first cut out, then laid over, then written on."""

    crop: Crop | None = None
    overlay: LaidOver | None = None
    captions: BurntIn | None = None
