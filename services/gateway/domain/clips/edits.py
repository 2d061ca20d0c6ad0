"""Edits of clips' pictures, as requested: checked, and sealed for the clipper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.gateway.domain.errors import invalid
from services.gateway.domain.receivers import Receivers
from shared.messages.edits import BurntIn, Corner, Crop, LaidOver, PictureEdit
from shared.security.secrets import redact_url
from shared.store.library import NAME


@dataclass(frozen=True, slots=True)
class NewOverlay:
    """A picture to lay over a clip, from a URL or from the library; `field` is its name in the request."""

    field: str
    url: str | None
    library: str | None
    corner: Corner
    margin: int
    scale: int
    opacity: int


@dataclass(frozen=True, slots=True)
class NewCaptions:
    """Captions to draw into a clip, from a URL or from the library; `field` is their name in the request."""

    field: str
    url: str | None
    library: str | None
    size: float


@dataclass(frozen=True, slots=True)
class NewEdit:
    """What is to be done to a clip's pictures."""

    crop: Crop | None = None
    overlay: NewOverlay | None = None
    captions: NewCaptions | None = None

    def sealed(self, receivers: Receivers) -> PictureEdit | None:
        """Return the edit as the clipper gets it, None when nothing is to be done; Invalid."""
        laid, said = self.overlay, self.captions
        if self.crop is None and laid is None and said is None:
            return None
        overlay = laid and LaidOver(
            **_file(laid, receivers), corner=laid.corner, margin=laid.margin, scale=laid.scale, opacity=laid.opacity
        )
        captions = said and BurntIn(**_file(said, receivers), size=said.size)
        return PictureEdit(crop=self.crop, overlay=overlay, captions=captions)


NOTHING = NewEdit()


def _file(asked: NewOverlay | NewCaptions, receivers: Receivers) -> dict[str, Any]:
    """Return where a file is, as the clipper is told; Invalid."""
    if asked.url is not None:
        url = receivers.checked(f"{asked.field}.url", asked.url, login=True)
        return {"kind": "url", "location": receivers.sealed(url), "shown": redact_url(url)}
    name = asked.library or ""
    if not NAME.fullmatch(name):
        raise invalid(f"{asked.field}.library", "is not a name of a file in the library")
    return {"kind": "library", "location": name, "shown": name}
