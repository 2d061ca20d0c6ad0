"""Reading parameters: texts, numbers and booleans that clients write as texts; what is wrong is the API's exception."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.params import Params, Value, items_of

LONGEST: Final = 5000
_WHOLE: Final = re.compile(r"[+-]?\d{1,15}(?:\.0{1,12})?", re.ASCII)
_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false", ""})


class Fields:
    """The fields of a call, or of an object in it."""

    def __init__(self, values: Params) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    @property
    def names(self) -> list[str]:
        """The names of all fields that are not empty objects, in the order of the request."""
        return [name for name, value in self._values.items() if value not in (None, "", {}, [])]

    def text(self, name: str, default: str = "", longest: int = LONGEST) -> str:
        """Return a text; the default when it is missing or null."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise KalturaError("INVALID_PARAMETERS", WHY=f"{name} is not a text")
        if len(value) > longest:
            raise KalturaError("PROPERTY_VALIDATION_MAX_LENGTH", PROP_NAME=name, MAX_LENGTH=str(longest))
        return value.strip()

    def need(self, name: str) -> str:
        """Return a text that must be there."""
        found = self.text(name)
        if not found:
            raise KalturaError("MISSING_MANDATORY_PARAMETER", PARAM_NAME=name)
        return found

    def number(self, name: str, default: int, least: int = -(10**15), most: int = 10**15) -> int:
        """Return a whole number within bounds; the default when it is missing or null."""
        text = self.text(name)
        if not text:
            return default
        if not _WHOLE.fullmatch(text):
            raise KalturaError("PROPERTY_VALIDATION_NUMERIC_VALUE", PROP_NAME=name)
        value = int(text.partition(".")[0])
        if value < least:
            raise KalturaError("PROPERTY_VALIDATION_MIN_VALUE", PROP_NAME=name, MIN_VALUE=str(least))
        if value > most:
            raise KalturaError("PROPERTY_VALIDATION_MAX_VALUE", PROP_NAME=name, MAX_VALUE=str(most))
        return value

    def choice(self, name: str, default: int, enum: str, known: Collection[int]) -> int:
        """Return one of an enum's numbers; the default when it is missing or null."""
        text = self.text(name)
        if not text:
            return default
        if not _WHOLE.fullmatch(text) or int(text.partition(".")[0]) not in known:
            raise KalturaError("INVALID_ENUM_VALUE", VALUE=text, PARAM_NAME=name, ENUM=enum)
        return int(text.partition(".")[0])

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean, however a client writes it."""
        text = self.text(name).lower()
        if name not in self._values or text not in _TRUE | _FALSE:
            return default
        return text in _TRUE

    def inner(self, name: str) -> Fields:
        """Return the fields of an object; none when it is missing."""
        value = self._values.get(name)
        return Fields(value if isinstance(value, dict) else {})

    def items(self, name: str, most: int) -> list[Fields]:
        """Return the objects of a list, however a client writes it."""
        found = [value for value in self._list(name) if isinstance(value, dict)]
        if len(found) > most:
            raise KalturaError("PROPERTY_VALIDATION_MAX_VALUE", PROP_NAME=name, MAX_VALUE=str(most))
        return [Fields(value) for value in found]

    def _list(self, name: str) -> list[Value]:
        return items_of(self._values.get(name))


def split(text: str) -> list[str]:
    """Return the parts of a list that is written with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
