"""Fetches FTP and SFTP servers of Debian, the clients that benches run beside ours, and MediaInfo, for tests.

They are unpacked below .venv with the libraries that this machine lacks: nothing is installed, no service starts.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from setup_host import Apt, Host, say

# A folder of `peers`, its packages, and the program that must be there.
SERVERS = (
    ("vsftpd", ("vsftpd",), "usr/sbin/vsftpd"),
    ("proftpd", ("proftpd-core", "proftpd-mod-crypto"), "usr/sbin/proftpd"),
    ("sshd", ("openssh-server", "openssh-sftp-server"), "usr/sbin/sshd"),
    ("lftp", ("lftp",), "usr/bin/lftp"),
    ("mediainfo", ("mediainfo",), "usr/bin/mediainfo"),
)
_LIBRARY = re.compile(r"(?:^|, )(lib[a-z0-9.+-]+)")


def fetch_servers(host: Host, apt: Apt, peers: Path) -> bool:
    """Fetch what is missing of SERVERS into `peers`; return whether all is there now."""
    fetched = [_fetch(host, apt, peers / name, packages, program) for name, packages, program in SERVERS]
    return all(fetched)


def _fetch(host: Host, apt: Apt, into: Path, packages: tuple[str, ...], program: str) -> bool:
    if host.exists(into / program):
        return True
    say(f"fetching {packages[0]} for the tests (nothing is installed)")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=into.parent) as name:
        folder = Path(name)
        whole = all(apt.fetch(package, folder) for package in packages)
        if not whole or not _complete(host, apt, folder, folder / program):
            say(f"it could not be had: its tests are skipped. To have it: {apt.advice(' '.join(packages))}")
            return False
        shutil.copytree(folder / "usr", into / "usr", dirs_exist_ok=True, symlinks=True)
    return True


def _complete(host: Host, apt: Apt, folder: Path, program: Path) -> bool:
    """Fetch the libraries of a program that this machine lacks: those that its packages name, and what these name."""
    asked: set[str] = set()
    while _lacks(host, folder, program):
        missing = [
            name for name in sorted(_named(host, folder) - asked) if host.output("dpkg-query", "-W", name) is None
        ]
        asked.update(missing)
        if not missing or not all(apt.fetch(package, folder) for package in missing):
            return False
    return True


def _named(host: Host, folder: Path) -> set[str]:
    found = (host.output("dpkg-deb", "-f", deb, "Depends") or "" for deb in folder.glob("*.deb"))
    return {name for text in found for name in _LIBRARY.findall(text)}


def _lacks(host: Host, folder: Path, program: Path) -> bool:
    paths = ":".join(str(path) for path in folder.glob("usr/lib/*-linux-*"))
    listed = host.output("env", f"LD_LIBRARY_PATH={paths}", "ldd", program)
    return listed is None or "not found" in listed
