"""Bodies of the streamer API. Fields that are not named here are kept and shown, and change nothing."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.gateway.http.bodies import no_boolean

LARGEST_CONFIG: Final = 8 * 1024
MOST_INPUTS: Final = 16
PUBLISH: Final = "publish://"
RESET: Final = "$reset"
SHOWN_ONLY: Final = frozenset({"stats", "config_on_disk", "reelay", "name", "named_by", RESET})
"""What GET adds, and what a client that writes it back does not mean to set."""

Seconds = Annotated[Annotated[int, Field(ge=0, le=10**10)], BeforeValidator(no_boolean)]
Millis = Annotated[Annotated[int, Field(ge=0, le=10**14)], BeforeValidator(no_boolean)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^[a-z][a-z0-9+.-]{0,15}://\S*$")]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Input(_Open):
    """Where a stream comes from."""

    url: Url


class Dvr(_Open):
    """How long a stream is kept."""

    expiration: Seconds | None = None
    root: str | None = Field(None, max_length=1024)
    reference: str | None = Field(None, max_length=1024)


class StreamConfig(_Open):
    """What a client sets of a stream."""

    title: str | None = Field(None, max_length=512)
    inputs: list[Input] | None = Field(None, max_length=MOST_INPUTS)
    dvr: Dvr | None = None


def merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Merge a patch into a configuration: null removes, objects merge, the rest replaces (RFC 7396)."""
    after = {} if patch.get(RESET) is True else dict(before)
    for name, value in patch.items():
        if name == RESET:
            continue
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            inner = after.get(name)
            after[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            after[name] = value
    return after
