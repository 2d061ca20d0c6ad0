"""Fixtures that every layer may use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.nats import NatsServer, nats_server
from tests.support.surroundings import spare_go_servers, trust_one_root, work_in_memory

settings.register_profile("reelay", deadline=None)  # a slow machine is no fault
settings.load_profile("reelay")
work_in_memory()
trust_one_root()
spare_go_servers()


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
