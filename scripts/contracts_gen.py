"""Writes the generated files: a JSON Schema per message, the gateway's OpenAPI document, and the broker's users.

Run as `python -m scripts.contracts_gen`; tests fail when the committed files differ from its output.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, Final

from shared.broker.permissions import users_conf
from shared.broker.subjects import CHANNELS

ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = ROOT / "contracts"
USERS: Final = ROOT / "compose" / "nats" / "users.conf"
OPENAPI_MODULE: Final = "services.gateway.app"  # by name: shared never imports services


def schema_files() -> dict[str, str]:
    """Return each message's schema file, name to text."""
    files: dict[str, str] = {}
    for channel in CHANNELS:
        schema: dict[str, Any] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **channel.model.model_json_schema(mode="serialization"),
        }
        files[f"{channel.model.__name__}.json"] = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    return files


def main() -> None:
    """Write the files, and remove the schemas of messages that no longer exist."""
    folder = CONTRACTS / "schemas"
    folder.mkdir(exist_ok=True)
    files = schema_files()
    for stale in set(folder.glob("*.json")) - {folder / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    USERS.write_text(users_conf())
    document: dict[str, Any] = importlib.import_module(OPENAPI_MODULE).openapi_document()
    (CONTRACTS / "openapi.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
