"""JSON bodies: numbers stay exact; errors name the line and column of malformed text, or the wrong field."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any, Final, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationError, WithJsonSchema

from services.gateway.domain.errors import invalid
from services.gateway.http.problems import faults_of
from shared.errors import Rejected

M = TypeVar("M", bound=BaseModel)
DEEPEST: Final = 24
MOST_ITEMS: Final = 20_000  # values and keys of one body, all levels together
LONGEST_NUMBER: Final = 400
LARGEST_EXPONENT: Final = 308  # a double's; making an integer of 1E+10000000 takes 20 s
_DECIMAL: Final = re.compile(r"[+-]?\d{1,15}(\.\d{1,40})?")
_HALF: Final = re.compile("[\ud800-\udfff]")
_MOST_DIGITS: Final = 15
_FINEST: Final = Decimal("1E-12")
_NO_NUMBER: Final = "must be a finite decimal number of seconds, with at most 15 digits before the point"


class Malformed(Rejected):
    """The text is not JSON that the gateway accepts."""


def parse_json(raw: bytes) -> Any:
    """Parse JSON with decimal fractions as Decimal; Malformed says what is wrong and where."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8 (byte {error.start})") from error
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_refuse, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Malformed(f"malformed JSON at {where}: {error.msg}") from error
    except RecursionError as error:
        raise Malformed("malformed JSON: nested too deeply") from error
    except Malformed:
        raise
    except ValueError as error:  # an integer of more than 4300 digits
        raise Malformed("malformed JSON: a number is too long") from error
    _check(value)
    return value


def _number(text: str) -> Decimal:
    if len(text) > LONGEST_NUMBER:
        raise Malformed("malformed JSON: a number is too long")
    try:
        value = Decimal(text)
    except InvalidOperation as error:  # an exponent of more than 18 digits
        raise Malformed("malformed JSON: a number is out of range") from error
    if abs(value.adjusted()) > LARGEST_EXPONENT:
        raise Malformed("malformed JSON: a number is out of range")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a duplicate key: parsers differ in which of the two counts (RFC 8259, 4)."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed(f"malformed JSON: the key {json.dumps(_repeated(pairs))[:200]} comes twice in one object")
    return value


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    """Return the first duplicate key, in one pass."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key comes twice")


def _refuse(name: str) -> NoReturn:
    raise Malformed(f"malformed JSON: {name} is not a JSON number")


def _check(value: Any) -> None:
    """Check depth and number of all values, and refuse half surrogate pairs; each value is visited once."""
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > DEEPEST:
            raise Malformed("malformed JSON: nested too deeply")
        following: list[Any] = []
        for inner in level:
            if isinstance(inner, str):
                _check_text(inner)
            elif isinstance(inner, dict):
                following += inner.keys()
                following += inner.values()
            elif isinstance(inner, list):
                following += inner
            if count + len(following) > MOST_ITEMS:
                raise Malformed(f"malformed JSON: more than {MOST_ITEMS} values")
        level = following


def _check_text(text: str) -> None:
    if not text.isascii() and _HALF.search(text):
        raise Malformed("malformed JSON: half of a surrogate pair in a string")


def exact(value: Any) -> Fraction:
    """Return a number, or a string with one, exactly to 12 decimals; ValueError for anything else.

    At most 15 digits before the point. Digits after the 12th decimal are rounding errors of a client's floats
    (0.1 + 0.2 is 0.30000000000000004) and would move a point past a frame: they are rounded off.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("must be a number of seconds, or a string with one")  # noqa: TRY004  pydantic takes ValueError
    number = value if isinstance(value, Decimal) else _decimal(str(value).strip())
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS:
        raise ValueError(_NO_NUMBER)
    return Fraction(number.quantize(_FINEST))


def _decimal(text: str) -> Decimal:
    if not text.isascii() or not _DECIMAL.fullmatch(text):
        raise ValueError(_NO_NUMBER)
    return Decimal(text)


ExactSeconds = Annotated[
    Fraction,
    BeforeValidator(exact),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "description": "Seconds; a number, or a string with one"}),
]


def no_boolean(value: Any) -> Any:
    """Refuse true and false as a number (ValueError); for a field's `before` validator."""
    if isinstance(value, bool):  # pydantic takes true as 1
        raise ValueError("must be a whole number")  # noqa: TRY004  pydantic takes ValueError
    return value


def plain(value: Any) -> Any:
    """Return parsed JSON with Decimal as float, for fields that are only stored."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def json_body(model: type[M], *, optional: bool = False) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a request's body as `model`; if `optional`, a missing body counts as {}."""

    async def read(request: Request) -> M:
        try:
            raw = await request.body()
            value = {} if optional and not raw else parse_json(raw)
        except Malformed as error:
            raise invalid("", str(error), code="MALFORMED_JSON") from error
        if not isinstance(value, dict):
            raise invalid("", "the body must be a JSON object")
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise faults_of(error.errors(include_url=False, include_input=False)) from error

    return read


def documents(model: type[BaseModel], *, optional: bool = False) -> dict[str, Any]:
    """Return the OpenAPI fragment of a route whose body is a `model`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    DOCUMENTED[model.__name__] = model
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


DOCUMENTED: Final[dict[str, type[BaseModel]]] = {}
