"""Bodies of the CDNetworks API.

Every number may be a string. What the page calls an Array is an object in its samples, so that both are taken.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from shared.messages.restreams import MOST_ITEMS, MOST_TARGETS

MOST_TASKS: Final = 64


def _text(value: Any) -> Any:
    """Take a whole number where a string stands in the page."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one(value: Any) -> Any:
    """Take a list of one object for the object, and an empty one, as PHP writes an empty object, for none."""
    return (value[0] if value else None) if isinstance(value, list) and len(value) < 2 else value


def _digits(value: Any) -> Any:
    """Read a whole number from a string."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value.strip()) if len(value) < 20 else value
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  pydantic takes ValueError
    return None if value == "" else value


Text = Annotated[str, BeforeValidator(_text), StringConstraints(max_length=256)]
Url = Annotated[str, StringConstraints(max_length=2048, strip_whitespace=True)]
Ranges = Annotated[str, StringConstraints(max_length=4096, strip_whitespace=True)]
Count = Annotated[Annotated[int, Field(ge=0, le=1_000_000)] | None, BeforeValidator(_digits)]
Flag = Annotated[Literal[0, 1] | None, BeforeValidator(_digits)]
Moment = Annotated[Annotated[int, Field(ge=10**12, lt=10**13)] | None, BeforeValidator(_digits)]


class Src(BaseModel):
    """A file."""

    url: Url
    absofftime: Ranges = ""
    relofftime: Ranges = ""
    wmimage: Url = ""
    wmposition: Annotated[str, StringConstraints(max_length=16, to_upper=True, strip_whitespace=True)] = ""
    wmmargin: Count = None
    wmscale: Count = None
    wmopacity: Count = None


class Forward(BaseModel):
    """A target."""

    url: Url
    resetUrl: Url = ""  # noqa: N815  the API's name


class ExtendParam(BaseModel):
    """What may be added."""

    loop: Count = None
    index: Count = None
    callBackFileInfo: Flag = None  # noqa: N815  the API's name
    waitCrtUrlFinish: Flag = None  # noqa: N815  the API's name
    resetUrl: Url = ""  # noqa: N815  the API's name
    liveEvent: Text = ""  # noqa: N815  ours, in the API's style
    liveReturn: Flag = None  # noqa: N815  ours


class Fops(BaseModel):
    """Encoding."""

    bps: Text = ""
    res: Text = ""
    fps: Text = ""
    vcodec: Text = ""
    acodec: Text = ""


class Task(BaseModel):
    """One restream."""

    id: Annotated[str, BeforeValidator(_text), StringConstraints(min_length=1, max_length=256)]
    src: list[Src] = Field([], max_length=MOST_ITEMS)
    forward: list[Forward] = Field(min_length=1, max_length=MOST_TARGETS)
    extendParam: Annotated[ExtendParam | None, BeforeValidator(_one)] = None  # noqa: N815  the API's name
    fops: Annotated[Fops | None, BeforeValidator(_one)] = None
    start: Moment = None
    end: Moment = None


class ForwardRequest(BaseModel):
    """The body of a call."""

    transcallbackurl: Url = ""
    cmd: Annotated[Literal["1", "2", "3", "5"], BeforeValidator(_text)]
    type: Literal["video"]
    list: Annotated[list[Task], Field(min_length=1, max_length=MOST_TASKS)]


class Answer(BaseModel):
    """The body of every answer."""

    http_code: str
    msg: str
    call_time: int
