"""Bodies of the streamer API. Fields that are not named here are kept and shown, and change nothing."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

from services.gateway.domain.errors import invalid
from services.gateway.http.bodies import no_boolean
from shared.security.backends import MOST_SESSIONS

LARGEST_CONFIG: Final = 8 * 1024
MOST_INPUTS: Final = 16
PUBLISH: Final = "publish://"
ON_PLAY: Final = "on_play"
ON_PUBLISH: Final = "on_publish"
RESET: Final = "$reset"
SHOWN_ONLY: Final = frozenset({"stats", "config_on_disk", "reelay", "name", "named_by", RESET})
"""What GET adds, and what a client that writes it back does not mean to set."""

Seconds = Annotated[Annotated[int, Field(ge=0, le=10**10)], BeforeValidator(no_boolean)]
Millis = Annotated[Annotated[int, Field(ge=0, le=10**14)], BeforeValidator(no_boolean)]
SessionKey = Literal["name", "ip", "proto", "token", "user_agent", "referer"]
HttpUrl = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^https?://\S+$")]
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


class Backend(_Open):
    """An HTTP server that is asked whether somebody may play or publish."""

    url: HttpUrl


class OnPlay(Backend):
    """Who is asked about players, what makes a session, and how many a user may have.

    What would let in more people than its writer means when it is kept and changes nothing is refused.
    """

    max_sessions: int | None = Field(None, ge=1, le=MOST_SESSIONS)
    session_keys: list[SessionKey] | None = Field(None, min_length=1, max_length=8)
    soft_limitation: bool = False
    allowed_countries: list[str] | None = None
    domains: list[str] | None = None

    @field_validator("allowed_countries", "domains")
    @classmethod
    def _not_here(cls, value: list[str] | None) -> list[str] | None:
        if value:
            raise ValueError("is not supported here: let the backend decide by ip and referer")
        return value


class StreamConfig(_Open):
    """What a client sets of a stream."""

    title: str | None = Field(None, max_length=512)
    inputs: list[Input] | None = Field(None, max_length=MOST_INPUTS)
    dvr: Dvr | None = None
    on_play: OnPlay | None = None
    on_publish: Backend | None = None


def merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Merge a patch into a configuration: null removes, objects merge, the rest replaces (RFC 7396). Invalid."""
    if not isinstance(patch.get(RESET, False), bool):
        raise invalid(f"/{RESET}", "must be true or false")
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
