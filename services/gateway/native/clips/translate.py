"""Translates Brightcove's request bodies to clips of the domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from services.gateway.domain.clips.asked import NewClip
from services.gateway.domain.clips.encryption import NewEncryption
from services.gateway.domain.clips.ranges import NewRange
from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.destinations.options import OPTIONS, BucketOptions
from services.gateway.domain.errors import gathered, invalid
from services.gateway.domain.ids import is_id
from services.gateway.domain.told import Receiver
from services.gateway.http.problems import faults_of
from services.gateway.http.receivers import receivers_of
from services.gateway.http.selectors import Selectors, range_of
from services.gateway.native.clips.edits import edit_of
from services.gateway.native.clips.images import wishes_of
from services.gateway.native.clips.models import ClipsAsk, DestinationAsk, Output

SELECTORS: Final = tuple(Selectors.model_fields)
NOT_WITH_INSTANT: Final = (
    "ranges", "duration", "url", "videocloud", "credentials", "destinations", "notifications", "images",
    "capture_images", "crop", "overlay", "captions", "encryption",
)  # fmt: skip
NOT_INSTANT: Final = "does not go with mode instant, which makes a playlist of the recording and no file"


def clips_of(asked: ClipsAsk, job: str) -> list[NewClip]:
    """Return the requested clips of a job, one per output; Invalid when a range names points of two clocks."""
    shared = receivers_of("", asked.notifications)
    clips: list[NewClip] = []
    for position, output in enumerate(asked.outputs):
        clips.append(clip_of(output, f"outputs[{position}]", job, shared))
    if shared and all(clip.instant for clip in clips):
        raise invalid("notifications", NOT_INSTANT)
    return clips


def clip_of(output: Output, field: str, job: str, shared: Sequence[Receiver] = ()) -> NewClip:
    """Return the requested clip of an output of a job; `shared` are told, too. Invalid."""
    if instant := output.mode == "instant":
        _check_instant(output, field)
    told = () if instant else (*receivers_of(f"{field}.", output.notifications), *shared)
    images = wishes_of(output.images, both=output.capture_images)
    span, destinations = range_of(output, f"{field}."), destinations_of(output, field)
    ranges = ranges_of(output, field, job)
    edit, encryption = edit_of(output, field), encryption_of(output, field)
    return NewClip(field, output.label, span, told, destinations, instant, images, None, ranges, edit, encryption)


def ordered_clips(outputs: Mapping[int, dict[str, Any]], shared: Sequence[Receiver] = ()) -> list[NewClip]:
    """Return the clips among the outputs of a job, by their positions; Invalid."""

    def one(position: int, output: dict[str, Any]) -> NewClip:
        try:
            asked = Output.model_validate(output)
        except ValidationError as error:
            faults = [{**e, "loc": ("outputs", position, *e["loc"])} for e in error.errors(include_url=False)]
            raise faults_of(faults) from error
        return clip_of(asked, f"outputs[{position}]", "", shared)

    return gathered(partial(one, position, output) for position, output in outputs.items())


def encryption_of(output: Output, field: str) -> NewEncryption | None:
    """Return how an output is to be encrypted; Invalid for Video Cloud, which cannot play it."""
    asked = output.encryption
    if asked is None:
        return None
    if output.videocloud or any(one.videocloud for one in output.destinations or ()):
        raise invalid(f"{field}.encryption", "Video Cloud takes no encrypted files")
    return NewEncryption(asked.kid.lower(), asked.key.get_secret_value().lower())


def _check_instant(output: Output, field: str) -> None:
    for name in NOT_WITH_INSTANT:
        if getattr(output, name, None):
            raise invalid(f"{field}.{name.replace('capture_', 'capture-')}", NOT_INSTANT)


def destinations_of(output: Output, field: str) -> tuple[NewDestination, ...]:
    """Return an output's destinations, none for the library; Invalid when it names them in two ways."""
    alone = {"url": output.url, "videocloud": output.videocloud, "credentials": output.credentials}
    given = [name for name, value in alone.items() if value is not None]
    if output.destinations is not None:
        if given:
            raise invalid(f"{field}.{given[0]}", "excludes destinations: name all of them there")
        return tuple(_one_of(one, f"{field}.destinations[{n}]") for n, one in enumerate(output.destinations))
    if given == ["credentials"]:
        raise invalid(f"{field}.credentials", "goes with url or videocloud: the library takes none")
    if not given:
        return ()
    return (NewDestination(field, output.url, output.videocloud, output.credentials),)


def _one_of(asked: DestinationAsk, field: str) -> NewDestination:
    options = BucketOptions.model_validate(asked.model_dump(include=set(OPTIONS)))
    return NewDestination(field, asked.url, asked.videocloud, asked.credentials, options)


def ranges_of(output: Output, field: str, job: str) -> tuple[NewRange, ...]:
    """Return the ranges of a reel, none for a clip of one range; Invalid when an output has both."""
    if output.ranges is None:
        return ()
    for name in SELECTORS:
        if getattr(output, name) is not Selectors.model_fields[name].default:
            raise invalid(f"{field}.{name}", "excludes ranges: name it in each of them")
    found: list[NewRange] = []
    for position, one in enumerate(output.ranges):
        name, own = f"{field}.ranges[{position}]", one.live_job_id is not None
        if own and not is_id(one.live_job_id or ""):
            raise invalid(f"{name}.live_job_id", "there is no such job")
        found.append(NewRange(name, one.live_job_id or job, range_of(one, f"{name}."), own))
    return tuple(found)
