"""Edits of clips' pictures, from a request."""

from __future__ import annotations

from typing import Any

from services.gateway.domain.clips.edits import NewCaptions, NewEdit, NewOverlay
from services.gateway.native.clips.edit_models import CropAsk, OverlayAsk, Point
from services.gateway.native.clips.models import Output
from shared.messages.edits import Crop, PictureEdit


def edit_of(output: Output, field: str) -> NewEdit:
    """Return what an output asks to be done to its pictures."""
    crop = None if output.crop is None else _crop(output.crop)
    overlay = None if output.overlay is None else _overlay(output.overlay, f"{field}.overlay")
    said = output.captions
    captions = None if said is None else NewCaptions(f"{field}.captions", said.url, said.library, said.size)
    return NewEdit(crop, overlay, captions)


def _overlay(asked: OverlayAsk, field: str) -> NewOverlay:
    return NewOverlay(field, asked.url, asked.library, asked.corner, asked.margin, asked.scale, asked.opacity)


def _crop(asked: CropAsk) -> Crop:
    centre = asked.center if isinstance(asked.center, Point) else Point(x=asked.center, y=asked.center)
    return Crop(aspect=asked.aspect, x=centre.x, y=centre.y)


def edit_view(edit: PictureEdit | None) -> dict[str, Any]:
    """Return the fields of a clip's view that tell its edit."""
    crop, laid, said = (edit.crop, edit.overlay, edit.captions) if edit else (None, None, None)
    return {
        "crop": crop and CropAsk(aspect=crop.aspect, center=Point(x=crop.x, y=crop.y)),
        "overlay": laid and laid.shown,
        "captions": said and said.shown,
    }
