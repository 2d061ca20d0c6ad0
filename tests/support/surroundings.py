"""What tests, and the processes that they start, find in their environment."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

import certifi

NAME = "reelay-root-"
MEMORY = Path("/dev/shm")
ROOM = 8 << 30  # bytes; a whole run has some 4 GB at a time


def work_in_memory() -> None:
    """Let temporary files lie in memory, where there is room: a run writes 30 GB, and a busy disk may take minutes.

    Where TMPDIR is set, they lie there. The process that began removes them, and those of runs that were killed.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    for left in MEMORY.glob("reelay-tests-*"):
        if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(MEMORY).free < ROOM:
        return
    folder = MEMORY / f"reelay-tests-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


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


def spare_go_servers() -> None:
    """Let servers written in Go (nats-server, rclone, seaweedfs) collect no garbage below a gigabyte.

    On a machine that stands still for a moment, the background sweep of Go 1.26 and newer may go round for ever and
    take a core (golang/go, issue 75771); such a server answers nothing.
    """
    os.environ |= {"GOGC": "off", "GOMEMLIMIT": "1GiB"}
