"""contracts/openapi.json is what the gateway's routes say."""

import json
from pathlib import Path

from services.gateway.app import openapi_document

COMMITTED = Path(__file__).resolve().parents[2] / "contracts" / "openapi.json"


def test_the_committed_document_is_the_generated_one() -> None:
    assert json.loads(COMMITTED.read_text()) == openapi_document(), "run `make contracts`"


def test_every_reference_in_the_document_has_its_schema() -> None:
    document = openapi_document()
    text = json.dumps(document)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in document["components"]["schemas"]


def test_every_operation_says_how_it_fails_and_what_it_needs() -> None:
    document = openapi_document()
    assert document["servers"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert "security" in operation, (method, path)
            keyed = bool(operation["security"])
            assert ("401" in operation["responses"]) == keyed, (method, path)
            assert not keyed or {"403", "429", "default"} <= set(operation["responses"]), (method, path)
            assert ("{" not in path) or "404" in operation["responses"], (method, path)
