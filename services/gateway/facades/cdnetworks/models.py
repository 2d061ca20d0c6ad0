"""Bodies of the CDNetworks API.

Every number may be a string. What the page calls an Array is an object in its samples, so both are accepted.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from shared.messages.restreams import MOST_ITEMS, MOST_TARGETS

MOST_TASKS: Final = 64


_YES: Final = {"1": 1, "true": 1, "0": 0, "false": 0, "": None}
_COMMANDS: Final = {"1": "start", "2": "terminate", "3": "update", "5": "resume"}


def _text(value: Any) -> Any:
    """Accept a number where the page has a string, 25.0 as 25; null is an empty string."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return "" if value is None else value


def _trimmed(value: Any) -> Any:
    text = _text(value)
    return text.strip() if isinstance(text, str) else text


def _named(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty: it names the task in later calls and callbacks")
    return text


def _command(value: Any) -> Any:
    text = _trimmed(value)
    if text not in _COMMANDS:
        raise ValueError(f"must be one of {', '.join(f'{cmd} ({verb})' for cmd, verb in _COMMANDS.items())}")
    return text


def _kind(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _one(value: Any) -> Any:
    """Accept a list of one object as the object, and an empty list (PHP's empty object) as none."""
    value = value or None
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _some(value: Any) -> Any:
    """Accept null as an empty list."""
    return [] if value is None else value


def _digits(value: Any) -> Any:
    """Parse a whole number from a string; an empty one is none."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  pydantic takes ValueError
    text = _trimmed(value)
    if text == "":
        return None
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20 else text


def _flag(value: Any) -> Any:
    """Parse 0 or 1 from a number, a bool or a string."""
    text = str(value).lower() if isinstance(value, bool) else _trimmed(value)
    if not isinstance(text, str) or text.lower() not in _YES:
        raise ValueError("must be 0 or 1")
    return _YES[text.lower()]


def _moment(value: int | None) -> int | None:
    if value is not None and not 10**12 <= value < 10**13:
        raise ValueError("must be a UNIX time of 13 digits: milliseconds since 1970")
    return value


Text = Annotated[Annotated[str, StringConstraints(max_length=256)], BeforeValidator(_trimmed)]
Url = Annotated[Annotated[str, StringConstraints(max_length=2048)], BeforeValidator(_trimmed)]
Ranges = Annotated[Annotated[str, StringConstraints(max_length=4096)], BeforeValidator(_trimmed)]
Corner = Annotated[Annotated[str, StringConstraints(max_length=16, to_upper=True)], BeforeValidator(_trimmed)]
Name = Annotated[Annotated[str, StringConstraints(max_length=256)], AfterValidator(_named), BeforeValidator(_text)]
Count = Annotated[Annotated[int, Field(ge=0, le=1_000_000)] | None, BeforeValidator(_digits)]
Flag = Annotated[Literal[0, 1] | None, BeforeValidator(_flag)]
Moment = Annotated[int | None, AfterValidator(_moment), BeforeValidator(_digits)]


class Src(BaseModel):
    """A file."""

    url: Url
    absofftime: Ranges = ""
    relofftime: Ranges = ""
    wmimage: Url = ""
    wmposition: Corner = ""
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

    id: Name
    src: Annotated[list[Src], Field(max_length=MOST_ITEMS), BeforeValidator(_some)] = []
    forward: list[Forward] = Field(min_length=1, max_length=MOST_TARGETS)
    extendParam: Annotated[ExtendParam | None, BeforeValidator(_one)] = None  # noqa: N815  the API's name
    fops: Annotated[Fops | None, BeforeValidator(_one)] = None
    start: Moment = None
    end: Moment = None


class ForwardRequest(BaseModel):
    """The body of a call."""

    transcallbackurl: Url = ""
    cmd: Annotated[Literal["1", "2", "3", "5"], BeforeValidator(_command)]
    type: Annotated[Literal["video"], BeforeValidator(_kind)]
    list: Annotated[list[Task], Field(min_length=1, max_length=MOST_TASKS)]


class Answer(BaseModel):
    """The body of every answer."""

    http_code: str
    msg: str
    call_time: int
