"""Fixtures of several files about the gateway. A file whose gateway has settings of its own makes its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Receiver, webhook_receiver


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path) as running:
        yield running


@pytest.fixture
async def player() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what is encoded once for a file."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture
async def backend() -> AsyncIterator[Receiver]:
    async with webhook_receiver() as running:
        yield running
