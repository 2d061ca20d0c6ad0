"""Images of clips: from a request, to its view, and as bytes."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import ENDED, Clips, KnownClip
from services.gateway.domain.errors import NotFound, NotReady, no_such
from services.gateway.http.broker import broker_here
from services.gateway.http.files import send
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.native.clips.image_models import ImageAsk, ImagesAsk, ImageView
from services.gateway.native.clips.media import TheLink, reader_of
from shared.messages.images import ENDINGS, ClipImage, ImageKind, ImageWish
from shared.store.base import ObjectMissing

router: Final = APIRouter(prefix="/v1", tags=["media"], dependencies=[Depends(broker_here)])
KINDS: Final[tuple[ImageKind, ...]] = ("poster", "thumbnail")
THUMBNAIL_WIDTH: Final = 320


def wishes_of(asked: ImagesAsk | None, *, both: bool) -> tuple[ImageWish, ...]:
    """Return the wanted images; `both`: those that are not asked for by themselves are made as by default."""
    found = []
    for kind in KINDS:
        one: ImageAsk | None = getattr(asked, kind) if asked else None
        if one is not None or both:
            found.append(_wish(kind, one or ImageAsk()))
    return tuple(found)


def _wish(kind: ImageKind, asked: ImageAsk) -> ImageWish:
    width = asked.width
    if kind == "thumbnail" and width is None and asked.height is None:
        width = THUMBNAIL_WIDTH
    return ImageWish(
        kind=kind,
        at_us=None if asked.at is None else round(asked.at * 1_000_000),
        width=width,
        height=asked.height,
        format=asked.format,
        quality=asked.quality,
    )


def image_views(downloads: Downloads, known: KnownClip) -> list[ImageView]:
    """Return the views of a clip's images, in the order of the request."""
    return [_view(downloads, known, _image(known, wish)) for wish in known.request.images]


def _image(known: KnownClip, wish: ImageWish) -> ClipImage:
    """Return how far an image is; it has failed when the clip was cancelled or will have no exact file."""
    made = next((one for one in known.record.images if one.kind == wish.kind), None) if known.record else None
    image = made or ClipImage(kind=wish.kind, format=wish.format)
    exact = known.record is not None and known.record.file is not None and known.record.file.accuracy == "frame"
    if image.state == "waiting" and known.state in ENDED and (known.state == "cancelled" or not exact):
        return image.model_copy(update={"state": "failed", "error": f"the clip is {known.state}"})
    return image


def _view(downloads: Downloads, known: KnownClip, image: ClipImage) -> ImageView:
    if image.state != "ready":
        return ImageView(kind=image.kind, state=image.state, error=image.error)
    request, name = known.request, f"images/{image.kind}.{ENDINGS[image.format]}"
    return ImageView(
        kind=image.kind,
        state=image.state,
        url=downloads.url(request.clip, name),
        signed_url=downloads.signed_url(request.account, request.clip, name),
        at=image.at_us / 1_000_000,
        width=image.width,
        height=image.height,
        bytes=image.bytes,
    )


@router.head("/vods/{jvod_id}/images/{name}", response_class=Response, include_in_schema=False)
@router.get("/vods/{jvod_id}/images/{name}", response_class=Response)
async def get_vod_image(
    request: Request,
    clips: Annotated[Clips, Depends(part(Clips))],
    downloads: Annotated[Downloads, Depends(part(Downloads))],
    jvod_id: HexPath,
    name: str,
    link: TheLink,
) -> Response:
    """Get an image of a clip: `poster` or `thumbnail`, with the ending of its format (jpg, png, webp)."""
    owner = await reader_of(request, downloads, jvod_id, link)
    known = await clips.find(owner, jvod_id)
    images = {f"{wish.kind}.{ENDINGS[wish.format]}": _image(known, wish) for wish in known.request.images}
    image = images.get(name)
    if image is None:
        raise no_such("image")
    if image.key is None:
        raise NotFound(f"there is no such image: {image.error}") if image.error else NotReady("it is not made yet")
    try:
        return await send(request, downloads.image(image, image.key))
    except ObjectMissing as error:
        raise no_such("image") from error
