"""What is wrong with a field, in plain words instead of pydantic's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

_LONGEST: Final = 300
# https://docs.pydantic.dev/latest/errors/validation_errors/ - names in braces come from the error's context.
_WORDS: Final = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_pattern_mismatch": "must have the form {pattern}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} decimals",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "extra_forbidden": "is not a known field",
}


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _expected(context: Mapping[str, Any]) -> str:
    text = str(context["expected"])
    return f"must be {text.lower() if text in {'True', 'False'} else text}"


_MADE: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "string_too_short": lambda c: f"must have at least {_count(c['min_length'], 'character', 'characters')}",
    "string_too_long": lambda c: f"must have at most {_count(c['max_length'], 'character', 'characters')}",
    "too_short": lambda c: f"must have at least {_count(c['min_length'], 'entry', 'entries')}",
    "too_long": lambda c: f"must have at most {_count(c['max_length'], 'entry', 'entries')}",
    "literal_error": _expected,
    "enum": _expected,
}


def plain_words(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors means to the sender; pydantic's own words for an unknown kind."""
    kind, context = error["type"], error.get("ctx", {})
    if made := _MADE.get(kind):
        text = made(context)
    elif words := _WORDS.get(kind):
        text = words.format_map(context)
    else:
        text = str(error["msg"]).removeprefix("Value error, ")
    return text[:_LONGEST]
