"""Translates bodies of Brightcove's Live API to values of the domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from services.gateway.domain.clips.asked import NewClip
from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.errors import gathered, invalid
from services.gateway.domain.jobs.jobs import NewJob
from services.gateway.domain.told import Receiver
from services.gateway.facades.brightcove.models import ClipsAsk, CredentialAsk, JobAsk, OutputAsk
from services.gateway.http.problems import faults_of
from services.gateway.http.receivers import receivers_of
from services.gateway.http.selectors import range_of

FORM: Final = "brightcove"
"""How receivers are told: services/notifier/forms/brightcove.py."""
NOT_WITH_INSTANT: Final = ("duration", "url", "videocloud", "credentials", "notifications")
NOT_INSTANT: Final = "does not go with mode instant, which makes a playlist of the stream and no file"
_OWN_WORDS: Final = ("endpoint", "region", "path_style", "session_token", "host_key", "tls", "host", "account_id")


def job_of(asked: JobAsk) -> NewJob:
    """Return the job."""
    return NewJob(
        name=asked.name or asked.label,
        reconnect_time_s=asked.reconnect_time,
        event_length_s=asked.event_length,
        dvr_window_s=asked.live_dvr_sliding_window_duration,
        static=asked.static,
        fields=asked.kept(),
    )


def clips_of(asked: ClipsAsk) -> list[NewClip]:
    """Return the clips, one per output; Invalid when an output names points of two clocks."""
    shared = receivers_of("", asked.notifications, FORM)
    clips: list[NewClip] = []
    for position, output in enumerate(asked.outputs):
        clips.append(_clip_of(output, f"outputs[{position}]", shared))
    if shared and all(clip.instant for clip in clips):
        raise invalid("notifications", NOT_INSTANT)
    return clips


def _clip_of(output: OutputAsk, field: str, shared: Sequence[Receiver] = ()) -> NewClip:
    if instant := output.mode == "instant":
        _check_instant(output, field)
    told = () if instant else (*receivers_of(f"{field}.", output.notifications, FORM), *shared)
    span, destinations = range_of(output, f"{field}."), _destinations(output, field)
    return NewClip(field, output.label, span, told, destinations, instant)


def ordered_clips(outputs: Mapping[int, dict[str, Any]], shared: Sequence[Receiver] = ()) -> list[NewClip]:
    """Return the clips among the outputs of a job, by their positions; Invalid."""

    def one(position: int, output: dict[str, Any]) -> NewClip:
        try:
            asked = OutputAsk.model_validate(output)
        except ValidationError as error:
            faults = [{**e, "loc": ("outputs", position, *e["loc"])} for e in error.errors(include_url=False)]
            raise faults_of(faults) from error
        return _clip_of(asked, f"outputs[{position}]", shared)

    return gathered(partial(one, position, output) for position, output in outputs.items())


def _check_instant(output: OutputAsk, field: str) -> None:
    for name in NOT_WITH_INSTANT:
        if getattr(output, name):
            raise invalid(f"{field}.{name}", NOT_INSTANT)


def _destinations(output: OutputAsk, field: str) -> tuple[NewDestination, ...]:
    """Return an output's destination, none for the library."""
    if output.url is None and output.videocloud is None:
        if output.credentials is not None:
            raise invalid(f"{field}.credentials", "goes with url or videocloud")
        return ()
    return (NewDestination(field, output.url, output.videocloud, output.credentials),)


def credential_of(asked: CredentialAsk) -> Mapping[str, Any]:
    """Return the values that were given, by the names of CredentialValues."""
    found = {
        "type": asked.credential_type,
        "public": asked.credential_public,
        "private": asked.credential_private,
        "default_for_type": asked.credential_default_for_type,
        "url": asked.oauth_settings.url if asked.oauth_settings else None,
        **{name: getattr(asked, name) for name in _OWN_WORDS},
    }
    return {name: value for name, value in found.items() if value is not None}
