"""Real FTP servers on free ports: vsftpd, ProFTPD and rclone, with and without TLS."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection, create_server

from tests.support.peers import environment, program
from tests.support.shared_bus import free_port
from tests.support.waiting import wait_until

USER, PASSWORD = "editor", "right-word"
_PASSIVE = 4
"""Ports of passive data connections: few, so that a relay can listen on the same ones of another address."""


@dataclass
class FtpServer:
    """A running server; files lie in `root`, which is where a login begins."""

    kind: str
    port: int
    passive: range
    root: Path
    cert: Path
    user: str
    log: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    tls: str = "explicit"

    def url(self, path: str, host: str = "localhost") -> str:
        scheme = "ftps" if self.tls == "implicit" else "ftp"
        return f"{scheme}://{host}:{self.port}/{path}"


def passive_ports() -> range:
    """Return some ports in a row that are free now."""
    while True:
        first = free_port()
        with suppress(OSError):
            for port in range(first, first + _PASSIVE):
                create_server(("127.0.0.1", port)).close()
            return range(first, first + _PASSIVE)


_VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
local_enable=NO
secure_email_list_enable=YES
email_password_file={folder}/passwords
anon_root={root}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
allow_writeable_chroot=YES
pasv_min_port={passive.start}
pasv_max_port={last}
vsftpd_log_file={folder}/log
log_ftp_protocol=YES
xferlog_enable=YES
seccomp_sandbox=NO
delay_failed_login=0
ftp_username=nobody
nopriv_user=nobody
secure_chroot_dir={folder}/empty
ssl_enable={tls}
implicit_ssl={implicit}
allow_anon_ssl=YES
force_anon_data_ssl={tls}
force_anon_logins_ssl={tls}
ssl_tlsv1=YES
require_ssl_reuse=YES
strict_ssl_read_eof=YES
ssl_ciphers=HIGH
rsa_cert_file={cert}
rsa_private_key_file={key}
"""

_PROFTPD = """
ModulePath {modules}
LoadModule mod_tls.c
LoadModule mod_digest.c
ServerName test
ServerType standalone
DefaultAddress 127.0.0.1
SocketBindTight on
UseIPv6 off
Port {port}
PassivePorts {passive.start} {last}
User {user}
Group {group}
ScoreboardFile {folder}/scoreboard
PidFile {folder}/pid
SystemLog {folder}/log
DelayEngine off
UseReverseDNS off
WtmpLog off
AuthOrder mod_auth_file.c
AuthUserFile {folder}/passwd
AuthGroupFile {folder}/group
RequireValidShell off
AllowOverwrite {overwrite}
AllowStoreRestart on
AllowRetrieveRestart on
DefaultTransferMode ascii
<Directory />
  DigestEnable {digests}
</Directory>
{more}
TLSEngine {tls}
TLSLog {folder}/log
TLSRequired {tls}
TLSECCertificateFile {cert}
TLSECCertificateKeyFile {key}
{options}
"""


def _vsftpd(folder: Path, server: FtpServer, key: Path, more: str) -> list[str]:
    (folder / "passwords").write_text(f"{PASSWORD}\n")
    (folder / "empty").mkdir()
    implicit, tls = ("YES" if server.tls == word else "NO" for word in ("implicit", ""))
    text = _VSFTPD.format(
        port=server.port, folder=folder, root=server.root, passive=server.passive, last=server.passive[-1],
        tls="NO" if tls == "YES" else "YES", implicit=implicit, cert=server.cert, key=key,
    )  # fmt: skip
    (folder / "conf").write_text(text.strip() + f"\n{more}")
    return [program("vsftpd"), str(folder / "conf")]


def _proftpd(folder: Path, server: FtpServer, key: Path, more: str) -> list[str]:
    hashed = subprocess.run(["openssl", "passwd", "-1", PASSWORD], capture_output=True, text=True, check=True)
    owner = pwd.getpwuid(os.getuid())
    uid, gid = os.getuid(), os.getgid()
    (folder / "passwd").write_text(f"{USER}:{hashed.stdout.strip()}:{uid}:{gid}::{server.root}:/bin/false\n")
    (folder / "group").write_text(f"{USER}:x:{gid}:{USER}\n")
    for name in ("passwd", "group"):
        (folder / name).chmod(0o600)
    modules = Path(program("proftpd")).parents[1] / "lib/proftpd"
    overwrite, digests = ("off" if word in more else "on" for word in ("#no-overwrite", "#no-digests"))
    text = _PROFTPD.format(
        modules=modules, port=server.port, passive=server.passive, last=server.passive[-1], folder=folder,
        user=owner.pw_name, group=owner.pw_name, cert=server.cert, key=key, tls="on" if server.tls else "off",
        options="TLSOptions UseImplicitSSL" if server.tls == "implicit" else "", more=more,
        overwrite=overwrite, digests=digests,
    )  # fmt: skip
    (folder / "conf").write_text(f"{text}\nRootLogin on\n")
    return [program("proftpd"), "--nodaemon", "--config", str(folder / "conf")]


def _rclone(folder: Path, server: FtpServer, key: Path, more: str) -> list[str]:
    last = server.passive[-1] + 1
    command = [program("rclone"), "serve", "ftp", str(server.root), "--user", USER, "--pass", PASSWORD]
    command += ["--addr", f"127.0.0.1:{server.port}", "--passive-port", f"{server.passive.start}-{last}", "-vv"]
    command += [
        "--config",
        str(folder / "rclone.conf"),
        "--vfs-cache-mode",
        "writes",
        "--vfs-write-back",
        "0s",
        "--cache-dir",
        str(folder),
    ]
    return [*command, "--cert", str(server.cert), "--key", str(key)] if server.tls else command


_KINDS: dict[str, Callable[[Path, FtpServer, Path, str], list[str]]] = {
    "vsftpd": _vsftpd, "proftpd": _proftpd, "rclone": _rclone,
}  # fmt: skip


@contextmanager
def ftp_server(
    kind: str,
    folder: Path,
    certificate: tuple[Path, Path],
    *,
    tls: str = "explicit",
    root: Path | None = None,
    more: str = "",
) -> Iterator[FtpServer]:
    """Run a server; `tls` is explicit, implicit or empty, `more` its own settings."""
    folder = folder / f"{kind}-{free_port()}"
    place = root or folder / "files"
    place.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    user = "anonymous" if kind == "vsftpd" else USER
    server = FtpServer(kind, free_port(), passive_ports(), place, certificate[1], user, folder / "log", tls=tls)
    command = _KINDS[kind](folder, server, certificate[0], more)
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            # vsftpd says on its standard input what is wrong
            command,
            stdin=output,
            stdout=output,
            stderr=output,
            env=environment(kind),
            start_new_session=True,
        )

    def listens() -> bool:
        assert process.poll() is None, (folder / "output").read_text() + (
            (folder / "log").read_text() if (folder / "log").exists() else ""
        )
        with suppress(OSError), create_connection(("127.0.0.1", server.port), timeout=1):
            return True
        return False

    wait_until(listens)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # its own group: a server has a process for each login
        process.wait()
        shutil.rmtree(folder / "scoreboard", ignore_errors=True)
