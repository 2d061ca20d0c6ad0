"""Kaltura's own Python client at a gateway, and the calls of other clients, by hand."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any
from xml.etree import ElementTree as ET

import httpx

from tests.support.api_gateway import Gateway
from tests.support.peers import PEERS

FOLDER = PEERS / "kaltura"
MISSING = "" if (FOLDER / "KalturaClient").is_dir() else "missing: KalturaClient (scripts/setup_peers.py fetches it)"


def vendor() -> Any:
    """Import the client's library."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module("KalturaClient")


def core() -> Any:
    """Import the client's objects and enums."""
    vendor()
    return importlib.import_module("KalturaClient.Plugins.Core")


def library(base: str) -> Any:
    """Return a client of a server."""
    return vendor().KalturaClient(importlib.import_module("KalturaClient.Base").KalturaConfiguration(base))


async def partner(api: Gateway, **body: Any) -> tuple[int, str]:
    """Make a partner; return its number and its secret."""
    answer = await api.http.post("/v1/kaltura-partners", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["partner_id"], answer.json()["secret"]


class Peer:
    """A client without a library: JSON in, JSON out."""

    def __init__(self, http: httpx.AsyncClient, ks: str = "") -> None:
        self.http, self.ks = http, ks

    async def __call__(self, name: str, **fields: Any) -> Any:
        """Call `service.action`; return its result, or the code of its exception."""
        service, _, action = name.partition(".")
        body = {"format": 1, **({"ks": self.ks} if self.ks else {}), **fields}
        path = f"/api_v3/service/{service}/action/{action}"
        answer = await self.http.post(path, json=body, headers={"X-API-KEY": ""})
        assert answer.status_code == 200
        if answer.headers["content-type"].startswith("text/xml"):
            return ET.fromstring(answer.content)
        result = answer.json()
        exception = isinstance(result, dict) and result.get("objectType") == "KalturaAPIException"
        return result["code"] if exception else result


async def in_thread(work: Any, *args: Any) -> Any:
    """Run the library's blocking call beside the gateway's loop."""
    return await asyncio.to_thread(work, *args)
