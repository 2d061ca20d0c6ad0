"""Edits of clips' pictures, as requested: checked, and sealed for the clipper."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.domain.errors import invalid
from services.gateway.domain.receivers import Receivers
from shared.messages.edits import Corner, Crop, LaidOver, PictureEdit
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
class NewEdit:
    """What is to be done to a clip's pictures."""

    crop: Crop | None = None
    overlay: NewOverlay | None = None

    def sealed(self, receivers: Receivers) -> PictureEdit | None:
        """Return the edit as the clipper gets it, None when nothing is to be done; Invalid."""
        if self.crop is None and self.overlay is None:
            return None
        return PictureEdit(crop=self.crop, overlay=self.overlay and _sealed(self.overlay, receivers))


NOTHING = NewEdit()


def _sealed(asked: NewOverlay, receivers: Receivers) -> LaidOver:
    how = {name: getattr(asked, name) for name in ("corner", "margin", "scale", "opacity")}
    if asked.url is not None:
        url = receivers.checked(f"{asked.field}.url", asked.url, login=True)
        return LaidOver(kind="url", location=receivers.sealed(url), shown=redact_url(url), **how)
    name = asked.library or ""
    if not NAME.fullmatch(name):
        raise invalid(f"{asked.field}.library", "is not a name of a file in the library")
    return LaidOver(kind="library", location=name, shown=name, **how)
