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
