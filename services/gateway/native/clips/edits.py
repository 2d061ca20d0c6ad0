"""Edits of clips' pictures, from a request."""

from __future__ import annotations

from typing import Any

from services.gateway.domain.clips.edits import NewEdit, NewOverlay
from services.gateway.native.clips.edit_models import CropAsk, OverlayAsk, Point
from services.gateway.native.clips.models import Output
from shared.messages.edits import Crop, PictureEdit


def edit_of(output: Output, field: str) -> NewEdit:
    """Return what an output asks to be done to its pictures."""
    crop = None if output.crop is None else _crop(output.crop)
    return NewEdit(crop, None if output.overlay is None else _overlay(output.overlay, f"{field}.overlay"))


def _overlay(asked: OverlayAsk, field: str) -> NewOverlay:
    return NewOverlay(field, asked.url, asked.library, asked.corner, asked.margin, asked.scale, asked.opacity)


def _crop(asked: CropAsk) -> Crop:
    centre = asked.center if isinstance(asked.center, Point) else Point(x=asked.center, y=asked.center)
    return Crop(aspect=asked.aspect, x=centre.x, y=centre.y)


def edit_view(edit: PictureEdit | None) -> dict[str, Any]:
    """Return the fields of a clip's view that tell its edit."""
    crop, laid = (edit.crop, edit.overlay) if edit else (None, None)
    return {
        "crop": crop and CropAsk(aspect=crop.aspect, center=Point(x=crop.x, y=crop.y)),
        "overlay": laid and laid.shown,
    }
