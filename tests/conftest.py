"""Fixtures that every layer may use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from shared.runtime.priority import stay_ordinary
from tests.support.nats import NatsServer, nats_server
from tests.support.surroundings import trust_one_root
from tests.support.thinning import left_out

settings.register_profile("reelay", deadline=None)  # a slow machine is no fault
settings.load_profile("reelay")
stay_ordinary()  # tests run AV1 encoders, here and in processes that they start
trust_one_root()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make test` asks for."""
    parser.addoption("--thin", action="store_true", help="of each matrix of integration and e2e, run a few cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is asked to be left out, and say how much."""
    if config.getoption("--thin"):
        out = left_out(items)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in out])
        items[:] = [item for item in items if item.nodeid not in out]


def pytest_sessionstart() -> None:
    """Collect no garbage while a million objects are made that all stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was made so far out of every later collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A fresh, provisioned nats-server for the module."""
    folder: Path = tmp_path_factory.mktemp("nats")
    with nats_server(folder) as server:
        yield server
