"""Fetches a vendor's client library that tests drive the gateway with: its licence keeps it out of .venv itself."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from setup_host import Host, say

LOCK = Path(__file__).resolve().parent / "kaltura_client.lock"
PACKAGE = "KalturaClient/Client.py"


def fetch_kaltura(host: Host, peers: Path, python: str = sys.executable) -> bool:
    """Fetch Kaltura's Python client and what it needs into `peers`; return whether it is there now."""
    into = peers / "kaltura"
    if host.exists(into / PACKAGE):
        return True
    say("fetching Kaltura's client library for the tests (nothing is installed)")
    peers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=peers) as name:
        options = ("-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check")
        fetched = host.run(python, "-m", "pip", "install", *options, "--target", name, "-r", LOCK)
        if not fetched or not host.exists(Path(name) / PACKAGE):
            say("it could not be had: tests that use it are skipped")
            return False
        shutil.copytree(name, into, dirs_exist_ok=True)
    return True
