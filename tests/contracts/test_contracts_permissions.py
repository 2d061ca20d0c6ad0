"""compose/nats/users.conf equals the tables, and the tables name every bucket that a service opens."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scripts.contracts_gen import USERS as USERS_CONF
from shared.broker.kv import Bucket
from shared.broker.mirror import Mirror
from shared.broker.permissions import SERVICES, USERS, password_variable, publishes, users_conf
from shared.broker.streams import BUCKETS, CONSUMERS, STREAMS
from shared.broker.subjects import CHANNELS
from shared.runtime.service import make_service
from shared.runtime.settings import Settings


def test_the_committed_users_are_the_generated_ones() -> None:
    assert USERS_CONF.read_text() == users_conf(), "run `make contracts`"


def test_every_name_in_the_tables_is_a_service() -> None:
    named = {name for b in BUCKETS for name in (b.owner, *b.readers)} | {c.service for c in CONSUMERS}
    named |= {name for c in CHANNELS for name in c.publishers}
    named |= {name for s in STREAMS for name in (*s.readers, *s.pruners)}
    assert named <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_publish_and_write_what_is_its_own_alone(service: str) -> None:
    allowed = publishes(service)
    assert {s.split(".")[1] for s in allowed if s.startswith("$KV.")} == {
        b.name for b in BUCKETS if service in {b.owner, *b.removers}
    }
    for channel in CHANNELS:
        assert (channel.pattern in allowed) == (service in channel.publishers and channel.stream != "SCHEDULES")
    assert not [s for s in allowed if re.match(r"(\$JS\.API\.)?(>|\*)|\$JS\.API\.STREAM\.(CREATE|UPDATE|DELETE)", s)]


@pytest.mark.parametrize("service", SERVICES)
def test_every_bucket_that_a_service_opens_names_it(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: set[str] = set()

    def noting(kind: type[Any]) -> Callable[..., None]:
        begin = kind.__init__

        def note(self: Any, jetstream: Any, name: str, *rest: Any, **more: Any) -> None:
            opened.add(name)
            begin(self, jetstream, name, *rest, **more)

        return note

    for kind in (Bucket, Mirror):
        monkeypatch.setattr(kind, "__init__", noting(kind))
    made = make_service(service, Settings(secret_key=SecretStr("x"), data_dir=tmp_path))
    importlib.import_module(f"services.{service.replace('-', '_')}.app").build(made)
    assert opened <= {b.name for b in BUCKETS if service in {b.owner, *b.readers}}


def test_the_script_makes_every_password() -> None:
    script = USERS_CONF.parents[1] / "make-passwords"
    made = dict(line.split("=") for line in subprocess.check_output([script], text=True).splitlines())
    assert set(made) == {password_variable(user) for user in USERS} | {"REELAY_SECRET_KEY", "REELAY_ADMIN_KEY"}
    assert len(set(made.values())) == len(made)
    Settings.model_validate({"admin_key": made["REELAY_ADMIN_KEY"]})  # strong enough
    assert all(re.fullmatch(r"(p|rl_)?[0-9a-f]{48}", value) for value in made.values())
