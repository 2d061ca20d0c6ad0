"""contracts/asyncapi.yaml equals the tables, and equals what the services really register with FastStream."""

import importlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from faststream.specification import AsyncAPI

from scripts.contracts_gen import CONTRACTS
from shared.broker.streams import BUCKETS, CONSUMERS, STREAMS
from shared.broker.subjects import CHANNELS
from shared.runtime.service import Service, make_service
from shared.runtime.settings import Settings

SERVICES = (
    "gateway", "scheduler", "ingester", "proxy-encoder", "archiver", "clipper", "exporter", "restreamer", "notifier",
)  # fmt: skip
CONTRACT: dict[str, Any] = yaml.safe_load((CONTRACTS / "asyncapi.yaml").read_text())


def span(value: timedelta) -> str:
    return f"{int(value.total_seconds())}s"


def pattern(address: str) -> str:
    return ".".join("*" if token.startswith("{") else token for token in address.split("."))


def channel_of(operation: dict[str, Any]) -> dict[str, Any]:
    channel: dict[str, Any] = CONTRACT["channels"][operation["channel"]["$ref"].rsplit("/", 1)[1]]
    return channel


def test_version_and_references() -> None:
    assert CONTRACT["asyncapi"] == "3.0.0"
    for name, message in CONTRACT["components"]["messages"].items():
        assert message["payload"]["$ref"] == f"schemas/{name}.json"
        assert (CONTRACTS / message["payload"]["$ref"]).is_file()


def test_channels_equal_the_registry() -> None:
    written = {
        (pattern(c["address"]), next(iter(c["messages"])), c["x-kind"], c["x-jetstream"]["stream"])
        for c in CONTRACT["channels"].values()
    }
    assert written == {(c.pattern, c.model.__name__, c.kind, c.stream) for c in CHANNELS}


def test_streams_equal_the_tables() -> None:
    assert CONTRACT["x-jetstream-streams"] == {
        s.name: {
            "subjects": list(s.subjects),
            "retention": s.retention,
            "max_age": span(s.max_age),
            "max_bytes": s.max_bytes,
            "duplicate_window": span(s.duplicate_window),
            "max_msgs_per_subject": s.max_per_subject,
            "allow_msg_schedules": s.schedules,
            "discard": s.discard,
        }
        for s in STREAMS
    }


def test_buckets_equal_the_tables() -> None:
    assert CONTRACT["x-jetstream-buckets"] == {
        b.name: {
            "writer": b.owner,
            "readers": list(b.readers),
            **({"removers": list(b.removers)} if b.removers else {}),
            "ttl": span(b.ttl),
        }
        for b in BUCKETS
    }


def test_consumers_equal_the_tables() -> None:
    written = {
        (
            op["x-service"],
            channel_of(op)["x-jetstream"]["stream"],
            *(op["x-jetstream"][k] for k in ("durable", "filter", "ack_wait", "max_deliver", "max_ack_pending")),
        )
        for op in CONTRACT["operations"].values()
        if op["action"] == "receive"
    }
    assert written == {
        (c.service, c.stream, c.durable, c.filter, span(c.ack_wait), c.max_deliver, c.max_ack_pending)
        for c in CONSUMERS
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, secret_key="contract-test")  # type: ignore[arg-type]


def built(name: str, settings: Settings) -> Service:
    service = make_service(name, settings)
    importlib.import_module(f"services.{name.replace('-', '_')}.app").build(service)
    return service


@pytest.mark.parametrize("name", SERVICES)
def test_service_registers_what_the_contract_says(name: str, settings: Settings) -> None:
    service = built(name, settings)
    operations = [op for op in CONTRACT["operations"].values() if op["x-service"] == name]
    sent = {pattern(channel_of(op)["address"]) for op in operations if op["action"] == "send"}
    received = {
        op["x-jetstream"]["durable"]: op["x-jetstream"]["filter"] for op in operations if op["action"] == "receive"
    }
    assert {p.subject.template for p in service.broker.publishers} == sent
    assert {s.extra_options["durable"]: s.subject.template for s in service.broker.subscribers} == received


@pytest.mark.parametrize("name", SERVICES)
def test_handlers_take_the_contract_s_payloads(name: str, settings: Settings) -> None:
    """FastStream's own AsyncAPI document is the witness for payloads."""
    service = built(name, settings)
    document = AsyncAPI(service.broker).to_specification().to_jsonable()
    seen = {schema for schema in document.get("components", {}).get("schemas", {}) if schema in names()}
    expected = {
        message
        for op in CONTRACT["operations"].values()
        if op["x-service"] == name
        for message in channel_of(op)["messages"]
        if op["action"] == "send" or name != "notifier"  # the notifier takes every event as an envelope
    }
    assert expected <= seen, expected - seen


def names() -> set[str]:
    return {c.model.__name__ for c in CHANNELS}
