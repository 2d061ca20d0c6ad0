"""Schemas regenerate unchanged, and the golden examples validate and survive a round trip."""

import json

import jsonschema
import pytest

from scripts.contracts_gen import CONTRACTS, schema_files
from shared.broker.subjects import CHANNELS, Channel
from shared.recording.hours import hour_key, log_sequence_of


def test_schemas_regenerate_unchanged() -> None:
    committed = {file.name: file.read_text() for file in (CONTRACTS / "schemas").glob("*.json")}
    assert committed == schema_files(), "run `make contracts`"


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: c.name)
def test_example_validates(channel: Channel) -> None:
    name = f"{channel.model.__name__}.json"
    example = json.loads((CONTRACTS / "examples" / name).read_text())
    schema = json.loads((CONTRACTS / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(example)
    assert channel.model.model_validate(example).model_dump(mode="json") == example


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: c.name)
def test_broken_example_is_refused(channel: Channel) -> None:
    """The check can fail: an example without its account does not validate."""
    name = f"{channel.model.__name__}.json"
    example = json.loads((CONTRACTS / "examples" / name).read_text())
    schema = json.loads((CONTRACTS / "schemas" / name).read_text())
    del example["account"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(example)


def test_the_example_of_an_hour_has_a_key_as_they_are_made() -> None:
    example = json.loads((CONTRACTS / "examples" / "HourClosed.json").read_text())
    place = log_sequence_of(example["key"])
    assert place
    assert example["key"] == hour_key(example["event"], example["hour"], place)


def test_no_stray_examples() -> None:
    names = {f"{channel.model.__name__}.json" for channel in CHANNELS}
    assert {file.name for file in (CONTRACTS / "examples").glob("*.json")} == names
