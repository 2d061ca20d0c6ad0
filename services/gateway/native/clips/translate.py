"""Translates Brightcove's request bodies to clips of the domain."""

from __future__ import annotations

from typing import Final

from services.gateway.domain.clips.clips import NewClip, Receiver
from services.gateway.domain.clips.encryption import NewEncryption
from services.gateway.domain.clips.window import ClipRange, Clock, Names, TimecodeRange
from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.destinations.options import OPTIONS, BucketOptions
from services.gateway.domain.errors import invalid
from services.gateway.native.clips.images import wishes_of
from services.gateway.native.clips.models import ClipsAsk, DestinationAsk, NotificationAsk, Output
from shared.media.timecode import parse_label

FAMILIES: Final[tuple[tuple[Clock | None, str, str], ...]] = (
    ("stream", "stream_start_time", "stream_end_time"),
    ("wall", "start_time", "end_time"),
    (None, "stream_start_timecode", "stream_end_timecode"),
)


NOT_WITH_INSTANT: Final = (
    "duration", "url", "videocloud", "credentials", "destinations", "notifications", "images", "capture_images",
    "encryption",
)  # fmt: skip
NOT_INSTANT: Final = "does not go with mode instant, which makes a playlist of the recording and no file"


def clips_of(asked: ClipsAsk) -> list[NewClip]:
    """Return the requested clips, one per output; Invalid when an output names points of two clocks."""
    shared = _receivers("", asked.notifications)
    clips: list[NewClip] = []
    for position, output in enumerate(asked.outputs):
        field = f"outputs[{position}]"
        if instant := output.mode == "instant":
            _check_instant(output, field)
        told = () if instant else (*_receivers(f"{field}.", output.notifications), *shared)
        images = wishes_of(output.images, both=output.capture_images)
        span, destinations = range_of(output, f"{field}."), destinations_of(output, field)
        encryption = encryption_of(output, field)
        clips.append(NewClip(field, output.label, span, told, destinations, instant, images, encryption=encryption))
    if shared and all(clip.instant for clip in clips):
        raise invalid("notifications", NOT_INSTANT)
    return clips


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


def range_of(output: Output, prefix: str = "") -> ClipRange | TimecodeRange:
    """Return the range that an output requests; Invalid when it names points of two clocks."""
    used = [f for f in FAMILIES if getattr(output, f[1]) is not None or getattr(output, f[2]) is not None]
    if len(used) > 1:
        mixed = [name for family in used for name in family[1:] if getattr(output, name) is not None]
        raise invalid(f"{prefix}{mixed[-1]}", f"{' and '.join(mixed)} cannot be mixed")
    if not used:
        return ClipRange(duration=output.duration, wait=output.wait)
    clock, start, end = used[0]
    if clock is None:
        labels = (getattr(output, name) for name in (start, end))
        first, after = (None if text is None else parse_label(text) for text in labels)
        return TimecodeRange(first, after, output.duration, output.wait, Names(start, end))
    return ClipRange(
        clock, getattr(output, start), getattr(output, end), output.duration, output.wait, Names(start, end)
    )


def _receivers(prefix: str, asked: list[NotificationAsk]) -> list[Receiver]:
    return [Receiver(f"{prefix}notifications[{n}]", one.url, one.event, one.credentials) for n, one in enumerate(asked)]
