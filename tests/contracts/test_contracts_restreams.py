"""Each order about a restream is what the schema of its one channel says, and no other."""

from __future__ import annotations

import json
from typing import Any, get_args

import jsonschema
import pytest

from scripts.contracts_gen import CONTRACTS
from shared.messages.restream_commands import Order, RestreamCommand
from tests.support.restream_orders import VERBS, order_of

SCHEMA = json.loads((CONTRACTS / "schemas/RestreamCommand.json").read_text())
TARGET = {"target": "a" * 16, "url": "sealed:x", "shown": "x"}
ITEMS = [{"source": {"kind": "library", "location": "a.mp4", "shown": "a.mp4"}}]
ORDERS: dict[Any, dict[str, Any]] = {
    "start": {"spec": {"items": ITEMS, "targets": [TARGET]}}, "resume": {"reset": {"b" * 16: TARGET}},
    "update": {"items": ITEMS, "wait_current": True}, "stop": {"only": ["a" * 16]}, "targets": {"targets": [TARGET]},
    "pause": {}, "skip": {}, "seek": {"item": 1, "at": 7}, "begin": {"run": 1}, "finish": {"run": 2},
}  # fmt: skip


def sent(order: dict[str, Any]) -> dict[str, Any]:
    return {"account": "main", "restream": "4" * 32, "command": "c" * 32, "at_ms": 1, "order": order}


def test_there_is_one_model_a_verb() -> None:
    assert set(ORDERS) == set(VERBS) == {model.model_fields["verb"].default for model in get_args(Order)}
    assert SCHEMA["properties"]["order"]["discriminator"]["mapping"].keys() == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_an_order_comes_back_as_it_was(verb: Any) -> None:
    command = RestreamCommand(
        account="main", restream="4" * 32, command="c" * 32, at_ms=1, order=order_of(verb, **ORDERS[verb])
    )
    text = command.model_dump_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert RestreamCommand.model_validate_json(text) == command
    assert command.verb == verb


@pytest.mark.parametrize("order", [{}, {"verb": "dance"}, {"verb": "seek"}, {"verb": "start"}, {"verb": "targets"}])
def test_what_is_no_order_is_refused(order: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(sent(order))
    with pytest.raises(ValueError, match="order"):
        RestreamCommand.model_validate(sent(order))
