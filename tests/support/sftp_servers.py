"""Real SFTP servers on free ports: OpenSSH's sshd, run by whoever runs the tests, and rclone."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from tests.support.peers import environment, program
from tests.support.shared_bus import free_port
from tests.support.waiting import wait_until

USER, PASSWORD = "editor", "right-word"
_SSHD = """
Port {port}
ListenAddress 127.0.0.1
PidFile {folder}/pid
HostKey {folder}/ed25519
HostKey {folder}/rsa
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp {options}
LogLevel VERBOSE
MaxStartups 100
"""


@dataclass
class SftpServer:
    """A running server; files lie in `root`."""

    kind: str
    port: int
    root: Path
    folder: Path
    process: subprocess.Popen[bytes]
    user: str
    secret: str
    host_key: str
    fingerprint: str

    def url(self, path: str, host: str = "localhost") -> str:
        start = str(self.root) if self.kind == "sshd" else ""
        return f"sftp://{host}:{self.port}{start}/{path}"


def make_key(folder: Path, name: str, kind: str) -> tuple[str, str]:
    """Make a key pair; return the public key and its fingerprint."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(path)], check=True)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True)
    return path.with_suffix(".pub").read_text().strip(), shown.stdout.split()[1]


def _write_settings(command: list[str], path: Path, text: str) -> None:
    """Write sshd's settings, with those that only newer releases know where this one does."""
    programs = Path(command[0]).parents[1] / "lib/openssh"
    for line in (
        "PerSourcePenalties no",
        f"SshdSessionPath {programs}/sshd-session",
        f"SshdAuthPath {programs}/sshd-auth",
    ):
        path.write_text(f"{text}{line}\n")
        known = subprocess.run(
            [command[0], "-t", "-f", str(path)], env=environment("sshd"), capture_output=True, check=False
        )
        text = text if b"Bad configuration option" in known.stderr else f"{text}{line}\n"
    path.write_text(text)


@contextmanager
def sftp_server(kind: str, folder: Path, *, root: Path | None = None, options: str = "") -> Iterator[SftpServer]:
    """Run sshd or rclone; `options` are for internal-sftp."""
    port = free_port()
    folder = folder / f"{kind}-{port}"
    files = root or folder / "files"
    for path in (folder, files):
        path.mkdir(parents=True, exist_ok=True)
    host_key, fingerprint = make_key(folder, "ed25519", "ed25519")
    make_key(folder, "rsa", "rsa")
    user, secret = USER, PASSWORD
    if kind == "sshd":
        user, (public, _) = getpass.getuser(), make_key(folder, "client", "ed25519")
        (folder / "authorized").write_text(public)
        secret = (folder / "client").read_text()
        command = [program("sshd"), "-D", "-e", "-f", str(folder / "conf")]
        _write_settings(command, folder / "conf", _SSHD.format(port=port, folder=folder, options=options))
        if os.geteuid() == 0:  # as root it wants a user and a folder of its own; as nobody it wants neither
            user, command = "nobody", ["unshare", "--user", *command]
    else:
        command = [program("rclone"), "serve", "sftp", str(files), "--user", USER, "--pass", PASSWORD, "-vv"]
        command += ["--addr", f"127.0.0.1:{port}", "--key", str(folder / "ed25519"), "--cache-dir", str(folder)]
        command += ["--config", str(folder / "conf"), "--vfs-cache-mode", "writes", "--vfs-write-back", "0s"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(kind), start_new_session=True
        )

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(listens)
    try:
        yield SftpServer(kind, port, files, folder, process, user, secret, host_key, fingerprint)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # its own group: a server has a process for each login
        process.wait()
