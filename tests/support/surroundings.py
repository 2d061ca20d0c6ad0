"""What tests, and the processes that they start, find in their environment."""

from __future__ import annotations

import atexit
import os
import re
import tempfile
from pathlib import Path

import certifi

NAME = "reelay-root-"


def trust_one_root() -> None:
    """Let `httpx.create_ssl_context` read the first of certifi's roots alone, here and in child processes.

    It reads all 140 in 50 ms of CPU, and most tests make several contexts. None calls a public server; what is checked
    about certificates is checked with the tests' own.
    """
    if Path(os.environ.get("SSL_CERT_FILE", "")).name.startswith(NAME):
        return  # that of the process which started this one
    roots = Path(certifi.where()).read_text("ascii", "ignore")
    found = re.search("-----BEGIN.*?END CERTIFICATE-----\n", roots, re.DOTALL)
    assert found is not None
    with tempfile.NamedTemporaryFile("w", prefix=NAME, suffix=".pem", delete=False) as file:
        file.write(found.group())
    os.environ["SSL_CERT_FILE"] = file.name
    atexit.register(Path(file.name).unlink, missing_ok=True)
