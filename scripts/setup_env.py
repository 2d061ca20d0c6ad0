"""Prepares .venv for Reelay from nothing but Python; `make` runs it through scripts/setup.

Standard library only. A second run finds the stamp and ends at once; after an interrupted one, .venv is made anew.
REELAY_SETUP_APT=0 forbids installing Debian packages.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from setup_host import LIBSRT_NAMES, LIBSRT_PACKAGE, LIBSRT_USUAL, PYTHON_WHEELS, Apt, Host, SetupError, say

ROOT = Path(__file__).resolve().parent.parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INPUTS = ("requirements.lock", "pyproject.toml")


class Setup:
    """One set-up of a checkout in `root`; `base` is the Python that .venv is made from."""

    def __init__(self, root: Path, base: str, host: Host, apt: Apt) -> None:
        self.root, self.base, self.host, self.apt = root, base, host, apt
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / ".reelay-stamp"
        self.unfinished = self.venv / ".reelay-unfinished"

    def inputs(self) -> str:
        """Return the hash of what .venv is made from; its path counts, because its programs contain it."""
        digest = hashlib.sha256(os.fsencode(self.root))
        for name in INPUTS:
            digest.update((self.root / name).read_bytes())
        return digest.hexdigest()

    def current(self) -> dict[str, str] | None:
        """Return the stamp of a finished .venv; None when its Python does not run."""
        version = self.host.output(self.python, "-sEc", "import platform; print(platform.python_version())")
        return {"inputs": self.inputs(), "python": version.strip()} if version else None

    def ready(self) -> bool:
        """Return whether .venv is finished and nothing that it is made from has changed."""
        try:
            return bool(json.loads(self.stamp.read_text()) == self.current())
        except (OSError, ValueError):
            return False

    def make(self) -> None:
        """Bring .venv to the state of the lock file; SetupError says what the user must do."""
        self.stamp.unlink(missing_ok=True)
        if not self._usable():
            self._create()
        self.unfinished.touch()
        self._ensure_certificates()
        self._ensure_pip()
        self._install()
        stamp = self.current()
        if stamp is None:
            raise SetupError(f"{self.python} does not run; remove {self.venv} and try again")
        self.unfinished.unlink()
        new = self.stamp.with_suffix(".new")
        new.write_text(json.dumps(stamp))
        new.replace(self.stamp)

    def _usable(self) -> bool:
        """Return whether .venv can be reused: its Python runs and its last set-up was not interrupted."""
        wanted = "import sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)"
        return not self.unfinished.exists() and self.host.output(self.python, "-sEc", wanted) is not None

    def _create(self) -> None:
        say(f"making .venv with Python {platform.python_version()} ({self.base})")
        if importlib.util.find_spec("venv") is None:
            package = venv_package()
            if not self.apt.install(package):
                raise SetupError(f"this Python has no venv module; install it: {self.apt.advice(package)}")
        if not self.host.run(self.base, "-m", "venv", "--without-pip", "--clear", self.venv):
            raise SetupError(f"could not make {self.venv}")

    def _ensure_certificates(self) -> None:
        """Install CA certificates where they are missing: Debian's pip trusts no other file."""
        if self.host.exists(CERTIFICATES) or "PIP_CERT" in os.environ or not self.host.has("apt-get"):
            return
        if not self.apt.install("ca-certificates"):
            say(f"there are no CA certificates; if pip fails: {self.apt.advice('ca-certificates')}")

    def _ensure_pip(self) -> None:
        if self._has_pip():
            return
        ways: tuple[Callable[[], bool], ...] = (
            self._pip_from_ensurepip,
            lambda: self._pip_from_wheels(PYTHON_WHEELS),
            self._pip_from_pip,
            self._pip_from_package,
            self._pip_from_apt,
        )
        for way in ways:
            if way() and self._has_pip():
                return
        command = self.apt.advice(venv_package())
        raise SetupError(f"this Python has no pip and none could be fetched; install it: {command}")

    def _has_pip(self) -> bool:
        return self.host.output(self.python, "-sEm", "pip", "--version") is not None

    def _pip_from_ensurepip(self) -> bool:
        return self.host.output(self.python, "-sEm", "ensurepip", "--default-pip") is not None

    def _pip_from_wheels(self, folder: Path) -> bool:
        """Install pip from its own wheel, as ensurepip does: a wheel can be run without unpacking."""
        wheels = self.host.pip_wheels(folder)
        if not wheels:
            return False
        install = ("install", "--quiet", "--no-index", "--no-deps", wheels[-1])
        return self.host.run(self.python, "-sE", wheels[-1] / "pip", *install, env=pip_environment())

    def _pip_from_package(self) -> bool:
        say("fetching pip from the package python3-pip-whl (nothing is installed outside .venv)")
        with tempfile.TemporaryDirectory(prefix="reelay-setup-") as name:
            folder = Path(name)
            if not self.apt.fetch("python3-pip-whl", folder):
                return False
            return self._pip_from_wheels(folder / PYTHON_WHEELS.relative_to("/"))

    def _pip_from_pip(self) -> bool:
        """Let the system's pip (--python needs 22.3 or newer) install pip into .venv."""
        if self.host.output(self.base, "-m", "pip", "--version") is None:
            return False
        reach = ("-m", "pip", "--python", self.python, "install", "--quiet", "pip")
        return self.host.run(self.base, *reach, env=pip_environment())

    def _pip_from_apt(self) -> bool:
        return self.apt.install(venv_package()) and self._pip_from_ensurepip()

    def _install(self) -> None:
        say("installing the locked packages into .venv (the first time takes a minute or two)")
        # -qq keeps errors. The lock is complete, so dependencies need no resolving; every pin has a wheel.
        pip = (self.python, "-sEm", "pip", "install", "-qq", "--no-deps")
        locked = ("--require-hashes", "--only-binary", ":all:", "-r", self.root / "requirements.lock")
        if not self.host.run(*pip, *locked, env=pip_environment()):
            raise SetupError("pip could not install requirements.lock; what it fetched is kept, so try again")
        if not self.host.run(*pip, "--no-build-isolation", "-e", self.root, env=pip_environment()):
            raise SetupError("pip could not install Reelay itself into .venv")

    def check_libsrt(self, *, install: bool) -> None:
        """Install libsrt when it is missing and `install` is true, else print how; RTMP works without it."""
        if self.host.loads(LIBSRT_NAMES):
            return
        package = self.apt.find(LIBSRT_PACKAGE) if install else None
        if package and self.apt.install(package) and self.host.loads(LIBSRT_NAMES):
            return
        command = self.apt.advice(package or LIBSRT_USUAL)
        say(f"libsrt is missing: RTMP works, SRT does not. To have SRT: {command}")


def venv_package() -> str:
    """Return the Debian package that provides venv and ensurepip for the running Python."""
    return f"python3.{sys.version_info.minor}-venv"


def pip_environment() -> dict[str, str]:
    """Return pip's environment: the user's settings (index, proxy, certificates) but those that bypass .venv."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_NO_DEPS", "PIP_PYTHON"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Make a second set-up of the same folder wait; the lock is on the folder itself."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up of this folder is running; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main() -> int:
    """Set up the checkout that contains this file; return 0 when .venv is ready."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    host = Host()
    apt = Apt(host, allowed=os.environ.get("REELAY_SETUP_APT", "1") != "0")
    setup = Setup(ROOT, base, host, apt)
    try:
        if setup.ready():
            setup.check_libsrt(install=False)
            return 0
        with alone(ROOT):
            if not setup.ready():
                setup.check_libsrt(install=True)
                setup.make()
                say("ready")
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
