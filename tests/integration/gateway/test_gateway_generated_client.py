"""A client that a public generator makes of contracts/openapi.json, at work on a gateway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.api_gateway import Gateway, gateway, make_key
from tests.support.nats import NatsServer

DOCUMENT = Path(__file__).resolve().parents[3] / "contracts" / "openapi.json"
PACKAGE = "reelay_generated"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Generate the client, with a warning as an error, and import it."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yml").write_text("post_hooks: []\n")  # no formatting
    subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", DOCUMENT, "--meta", "none",
            "--output-path", folder / PACKAGE, "--config", folder / "config.yml", "--fail-on-warning",
        ],
        check=True, timeout=60,
    )  # fmt: skip
    sys.path.insert(0, str(folder))
    try:
        yield import_module(PACKAGE)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def connected(generated: ModuleType, api: Gateway, key: str) -> Any:
    return generated.AuthenticatedClient(
        base_url=api.parts.public.base, token=key, prefix="", auth_header_name="X-API-KEY"
    )


def operation(name: str) -> ModuleType:
    return import_module(f"{PACKAGE}.api.{name}")


def model(name: str) -> Any:
    return getattr(import_module(f"{PACKAGE}.models"), name)


async def test_jobs_are_made_read_and_listed(generated: ModuleType, nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path) as api, connected(generated, api, api.admin) as client:
        made = await operation("jobs.create_job").asyncio(client=client, body=model("JobCreate")(name="match"))
        assert isinstance(made, model("JobView"))
        assert made.name == "match"
        read = await operation("jobs.get_job").asyncio(made.id, client=client)
        assert isinstance(read, model("JobView"))
        assert (read.id, read.state) == (made.id, made.state)
        page = await operation("jobs.list_jobs").asyncio(client=client)
        assert isinstance(page, model("JobList"))
        assert made.id in [job.id for job in page.jobs]


async def test_failures_are_problems_of_their_type(generated: ModuleType, nats: NatsServer, tmp_path: Path) -> None:
    problem = model("Problem")
    async with gateway(nats, tmp_path) as api:
        stranger = connected(generated, api, "no such key")
        reader = connected(generated, api, (await make_key(api, "jobs:read"))["key"])
        admin = connected(generated, api, api.admin)
        job = model("JobCreate")(name="match")
        wrong = model("JobCreate")(name="match", reconnect_time=-1)
        get, create = operation("jobs.get_job"), operation("jobs.create_job")
        for status, answer in (
            (401, await get.asyncio_detailed("0" * 32, client=stranger)),
            (403, await create.asyncio_detailed(client=reader, body=job)),
            (404, await get.asyncio_detailed("0" * 32, client=admin)),
            (400, await create.asyncio_detailed(client=admin, body=wrong)),
        ):
            assert answer.status_code == status
            assert isinstance(answer.parsed, problem)
            assert answer.parsed.status == status
            assert answer.parsed.detail
        assert [error.field for error in answer.parsed.errors] == ["reconnect_time"]
