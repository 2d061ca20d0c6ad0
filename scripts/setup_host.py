"""What set-up needs from the machine: commands, rights, and Debian packages. Standard library only."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The names that shared/srt/library.py tries; a test compares the two lists.
LIBSRT_NAMES = (
    "libsrt.so.1.5",
    "libsrt-openssl.so.1.5",
    "libsrt-gnutls.so.1.5",
    "libsrt.so.1.4",
    "libsrt-openssl.so.1.4",
    "libsrt-gnutls.so.1.4",
    "libsrt.so",
    "libsrt-gnutls.so",
)
# The GnuTLS flavour decrypts a third cheaper (shared/srt/library.py); an installed OpenSSL flavour is kept.
LIBSRT_PACKAGE = r"^libsrt1\.[0-9]+(t64)?-gnutls(t64)?$"
LIBSRT_USUAL = "libsrt1.5-gnutls"
PYTHON_WHEELS = Path("/usr/share/python-wheels")
# apt prints little, asks nothing, waits 120 s for another apt, and uses no terminal.
APT_OPTIONS = ("-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0")


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


class Host:
    """What set-up does with the machine; tests replace it."""

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> bool:
        """Run a command with its output shown; return whether it ends with 0."""
        words = [str(word) for word in command]
        try:
            return subprocess.run(words, stdin=subprocess.DEVNULL, env=env, check=False).returncode == 0
        except OSError:
            return False

    def output(self, *command: str | Path) -> str | None:
        """Run a command silently and return its output; None when it failed or ran longer than 60 s."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    def has(self, program: str) -> bool:
        """Return whether a program is on the PATH."""
        return shutil.which(program) is not None

    def exists(self, path: Path) -> bool:
        """Return whether a file exists."""
        return path.exists()

    def is_root(self) -> bool:
        """Return whether this process runs as root."""
        return os.geteuid() == 0

    def pip_wheels(self, folder: Path = PYTHON_WHEELS) -> list[Path]:
        """Return the pip wheels of Debian's python3-pip-whl in `folder`, the newest last."""
        return sorted(folder.glob("pip-*.whl"))

    def loads(self, names: Sequence[str]) -> bool:
        """Return whether one of these shared libraries can be loaded."""
        for name in names:
            try:
                ctypes.CDLL(name)
            except OSError:
                continue
            return True
        return False


class Apt:
    """Debian's packages. `allowed` false: nothing is installed, commands are only printed."""

    def __init__(self, host: Host, *, allowed: bool = True) -> None:
        self.host = host
        self._prefix = self._find_prefix() if allowed else None
        self._updated = False

    def _find_prefix(self) -> tuple[str, ...] | None:
        if not self.host.has("apt-get"):
            return None
        if self.host.is_root():
            return ()
        if self.host.has("sudo") and self.host.output("sudo", "-n", "true") is not None:
            return ("sudo", "-n")
        return None

    @property
    def may_install(self) -> bool:
        """Whether this user may install packages without a password."""
        return self._prefix is not None

    def advice(self, package: str) -> str:
        """Return the exact command with which a person installs a package."""
        command = f"apt-get install -y {package}"
        return command if self.host.is_root() else f"sudo {command}"

    def install(self, package: str) -> bool:
        """Install a package; return whether it is installed now."""
        if self._prefix is None:
            return False
        say(f"installing {package} ({' '.join((*self._prefix, 'apt-get', 'install', package))})")
        if self._apt("install", "-y", "--no-install-recommends", package):
            return True
        return self._update() and self._apt("install", "-y", "--no-install-recommends", package)

    def find(self, pattern: str) -> str | None:
        """Return the newest package whose name matches a regular expression; None without one."""
        if self._prefix is None or not self.host.has("apt-cache"):
            return None
        names = self._search(pattern)
        if not names and self._update():
            names = self._search(pattern)
        return names[-1] if names else None

    def _search(self, pattern: str) -> list[str]:
        found = self.host.output("apt-cache", "search", "--names-only", pattern) or ""
        names = [line.split(" - ")[0].strip() for line in found.splitlines()]
        return sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])

    def _update(self) -> bool:
        if self._updated:
            return False
        self._updated = True
        return self._apt("update")

    def _apt(self, *words: str) -> bool:
        environment = ("env", "DEBIAN_FRONTEND=noninteractive")
        return self.host.run(*(self._prefix or ()), *environment, "apt-get", *APT_OPTIONS, *words)

    def fetch(self, package: str, folder: Path) -> bool:
        """Unpack a package into `folder` without installing it or any rights; return whether it is there."""
        if not self.host.has("apt-get") or not self.host.has("dpkg-deb"):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        if not self._download(package, folder, ()):
            # The package lists are missing or old, and only root may update the machine's: update a copy.
            state, cache = folder / "state", folder / "cache"
            (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            own = ("-o", f"Dir::State::Lists={state / 'lists'}", "-o", f"Dir::Cache={cache}")
            if not self.host.run("apt-get", *APT_OPTIONS, *own, "update"):
                return False
            if not self._download(package, folder, own):
                return False
        return all(self.host.run("dpkg-deb", "-x", deb, folder) for deb in folder.glob("*.deb"))

    def _download(self, package: str, folder: Path, options: Sequence[str]) -> bool:
        change = ("env", "-C", str(folder), "apt-get", *APT_OPTIONS, *options, "download", package)
        return self.host.output(*change) is not None and any(folder.glob("*.deb"))
