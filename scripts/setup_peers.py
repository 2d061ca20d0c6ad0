"""Fetches the servers that tests talk to and Python packages do not bring: nginx with its RTMP module.

Unpacked below .venv, never installed: no rights are needed and no service starts. Where it cannot be had, the tests
that need it say so and are skipped. REELAY_SETUP_APT=0 forbids it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from setup_host import Apt, Host, say

PEERS = Path(__file__).resolve().parent.parent / ".venv" / "peers"
NGINX = ("nginx", "libnginx-mod-rtmp")
PROGRAM, PROGRAM_PACKAGE = "usr/sbin/nginx", "nginx-core"  # where the package nginx itself is empty
MODULE = "usr/lib/nginx/modules/ngx_rtmp_module.so"


def fetch_nginx(host: Host, apt: Apt, peers: Path) -> bool:
    """Bring nginx below `peers`, unless it or the system's own is there; true when one is."""
    if host.exists(peers / "nginx" / MODULE) or (host.has("nginx") and host.exists(Path("/") / MODULE)):
        return True
    say("fetching nginx with its RTMP module for the tests (nothing is installed)")
    peers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=peers) as name:
        folder = Path(name)
        whole = all(apt.fetch(package, folder) for package in NGINX)
        if whole and not host.exists(folder / PROGRAM):
            whole = apt.fetch(PROGRAM_PACKAGE, folder)
        if not whole or not host.exists(folder / PROGRAM) or not host.exists(folder / MODULE):
            say(f"it could not be had: tests that publish to it are skipped. To have it: {apt.advice(' '.join(NGINX))}")
            return False
        shutil.copytree(folder / "usr", peers / "nginx" / "usr", dirs_exist_ok=True)
    return True


def main() -> int:
    """Fetch what is missing; tests run without it too."""
    host = Host()
    if os.environ.get("REELAY_SETUP_APT", "1") != "0":
        fetch_nginx(host, Apt(host), PEERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
