"""Orders about restreams by their verb."""

from __future__ import annotations

from typing import Any, Final, get_args

from pydantic import TypeAdapter

from shared.messages.restream_commands import Order, Verb
from shared.messages.restreams import Playlist

ORDERS: Final[TypeAdapter[Order]] = TypeAdapter(Order)
VERBS: Final = get_args(Verb)


def order_of(verb: Verb, **fields: Any) -> Order:
    """Make an order; an update's list may be given as a start's."""
    if verb == "update" and "spec" in fields:
        spec = fields.pop("spec")
        fields |= {name: getattr(spec, name) for name in Playlist.model_fields}
    return ORDERS.validate_python({"verb": verb, **fields})
