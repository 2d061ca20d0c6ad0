"""Servers and clients that pip brought, scripts/setup_peers.py fetched, or that are installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / ".venv" / "peers"


def program(name: str) -> str:
    """Return a program's path; empty: it is neither fetched nor installed."""
    for folder in ("usr/sbin", "usr/bin"):
        fetched = PEERS / name / folder / name
        if fetched.exists():
            return str(fetched)
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin") or ""


def missing(*names: str) -> str:
    """Return which of these programs are missing; empty: none."""
    absent = ", ".join(name for name in names if not program(name))
    return f"missing: {absent} (scripts/setup_peers.py fetches it)" if absent else ""


def environment(name: str) -> dict[str, str]:
    """Return the environment in which a fetched program finds the libraries that were fetched with it."""
    folders = (PEERS / name / "usr/lib").glob("*-linux-*")
    return os.environ | {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders)}
