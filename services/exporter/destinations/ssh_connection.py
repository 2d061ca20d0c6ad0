"""An SSH connection to a user's server: its key pinned, and nothing of this machine's own SSH settings used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import asyncssh

from services.exporter.destinations.hidden import hidden
from services.exporter.destinations.remote import Remote, connect, saying
from services.exporter.destinations.ssh_wire import Wire
from shared.errors import DestinationFailed
from shared.security.netguard import Networks
from shared.security.netguard.resolve import Lookup

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # at less it tells users and hosts in its own form
LOGIN_S: Final = 30.0
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_KEY: Final = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+")
# A server has a key of each kind and shows the one that is asked for first. RFC 8332: rsa-sha2 signs with ssh-rsa keys.
_KINDS: Final = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
}
# AES-GCM first: the fastest where the processor has AES, which all servers' have.
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr",
                   "aes192-ctr", "aes256-ctr")  # fmt: skip
_LOST: Final = (
    asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, asyncssh.SFTPFailure, asyncssh.SFTPNoSpaceOnFilesystem,
    asyncssh.SFTPQuotaExceeded, asyncssh.SFTPLockConflict, asyncssh.SFTPByteRangeLockConflict, asyncssh.SFTPEOFError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pins:
    """The host keys that a user accepts."""

    keys: tuple[asyncssh.SSHKey, ...]
    fingerprints: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Pins:
        """Return what a credential's `host_key` pins: lines of public keys, of known_hosts, or of `ssh-keygen -l`.

        Comments pin nothing, nor do lines of known_hosts that are marked: their keys are revoked, or sign others.
        """
        given = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "@")))
        try:
            keys = tuple(asyncssh.import_public_key(found) for found in _KEY.findall(given))
        except (asyncssh.KeyImportError, ValueError) as error:
            raise DestinationFailed("the credential's host_key cannot be read as a public key", final=True) from error
        prints = frozenset(_FINGERPRINT.findall(given))
        if text.strip() and not keys and not prints:
            hint = (
                "the credential's host_key is neither a public key (ssh-ed25519 AAAA...) nor a SHA256:... fingerprint"
            )
            raise DestinationFailed(hint, final=True)
        return cls(keys, prints)

    def accept(self, key: asyncssh.SSHKey) -> bool:
        """Return whether a server's key is one of them."""
        return key in self.keys or key.get_fingerprint() in self.fingerprints

    def rounds(self) -> Iterator[tuple[str, ...]]:
        """Yield the algorithms to ask for, one connection after the other, until a key is accepted."""
        if self.keys and not self.fingerprints:
            yield tuple(name for key in self.keys for name in _KINDS.get(key.get_algorithm(), ()))
            return
        yield tuple(name for names in _KINDS.values() for name in names)
        if self.fingerprints:
            yield from _KINDS.values()


class _Client(asyncssh.SSHClient):
    def __init__(self, pins: Pins) -> None:
        self.pins = pins
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        del host, addr, port  # asyncssh's signature; the pins are of one server
        self.shown = key
        return self.pins.accept(key)


def _secrets(remote: Remote) -> dict[str, object]:
    """Return what proves who we are: a private key, where the secret is one, or a password."""
    if "PRIVATE KEY-----" not in remote.password:
        return {"password": remote.password or None, "client_keys": None}
    try:
        key = asyncssh.import_private_key(remote.password)
    except asyncssh.KeyEncryptionError as error:
        raise DestinationFailed("the private key is encrypted; store it without a passphrase", final=True) from error
    except (asyncssh.KeyImportError, ValueError) as error:
        raise DestinationFailed("the private key cannot be read", final=True) from error
    return {"password": None, "client_keys": [key]}


@contextlib.asynccontextmanager
async def ssh_connection(
    remote: Remote, port: int, pins: Pins, allowed: Networks, lookup: Lookup | None
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect and log in; raise DestinationFailed."""
    if not remote.user:
        raise DestinationFailed("sftp needs a user (credentials, or user@ in the URL)", final=True)
    secrets = _secrets(remote)
    shown: dict[str, None] = {}
    for algorithms in pins.rounds():
        client = _Client(pins)
        sock = await connect(remote.host, port, allowed=allowed, lookup=lookup)
        try:
            connection = await _log_in(sock, remote, client, algorithms, secrets)
        except asyncssh.HostKeyNotVerifiable:
            if client.shown is not None:
                shown[f"{client.shown.get_algorithm()} {client.shown.get_fingerprint()}"] = None
        except (asyncssh.DisconnectError, OSError):
            if not shown:
                raise  # else: it has no key of this kind
        else:
            try:
                yield connection
            finally:
                connection.abort()
            return
    raise DestinationFailed(_unknown(remote, pins, list(shown)), final=True)


def _unknown(remote: Remote, pins: Pins, shown: Sequence[str]) -> str:
    keys = " and ".join(shown) or "no key of the kind that host_key names"
    if not pins.keys and not pins.fingerprints:
        return (
            f"the credential has no host_key, so the server cannot be told from another; {remote.host} shows {keys}: "
            "compare it with what the server's operator says, and store it as host_key"
        )
    return f"another server than the credential's host_key names, or one with a new key: {remote.host} shows {keys}"


async def _log_in(
    sock: socket.socket, remote: Remote, client: _Client, algorithms: Sequence[str], secrets: dict[str, object]
) -> asyncssh.SSHClientConnection:
    """Log in over a connected socket; without files, agents or settings of this machine."""
    async with asyncio.timeout(LOGIN_S):
        return await asyncssh.connect(
            remote.host, tunnel=Wire(sock), config=None, known_hosts=([], [], []), client_factory=lambda: client,
            server_host_key_algs=list(algorithms), encryption_algs=list(_CIPHERS), compression_algs=["none"],
            username=remote.user, agent_path=None, gss_host=None, gss_kex=False, gss_auth=False,
            host_based_auth=False, x509_trusted_certs=None, x509_trusted_cert_paths=[], login_timeout=LOGIN_S,
            keepalive_interval=15, keepalive_count_max=6, **secrets,
        )  # fmt: skip


def refusal(step: str, error: asyncssh.SFTPError) -> DestinationFailed:
    """Return the error for what an SFTP server refused; final unless a later try may succeed."""
    # "Failure" is all that version 3 has for a full disk, and for much else.
    return DestinationFailed(f"{step}: the server said: {saying(error.reason)}", final=not isinstance(error, _LOST))


@contextlib.contextmanager
def told(where: str, secret: str = "") -> Iterator[None]:
    """Turn what can happen to SSH and SFTP into DestinationFailed, in which a secret is hidden."""
    try:
        with _translated(where):
            yield
    except DestinationFailed as error:
        raise DestinationFailed(hidden(str(error), (secret,)), final=error.final) from error


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except asyncssh.PermissionDenied as error:
        said = saying(error.reason)
        raise DestinationFailed(f"{where}: login: the user or its secret was refused: {said}", final=True) from error
    except (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported) as error:
        said = saying(error.reason)
        raise DestinationFailed(f"{where}: no way of encryption in common: {said}", final=True) from error
    except asyncssh.ChannelOpenError as error:
        raise DestinationFailed(f"{where}: the server offers no SFTP: {saying(error.reason)}", final=True) from error
    except asyncssh.SFTPError as error:
        raise refusal(where, error) from error
    except asyncssh.Error as error:
        raise DestinationFailed(f"{where}: the connection broke: {saying(error.reason)}") from error
    except TimeoutError as error:
        raise DestinationFailed(f"{where}: the server did not answer in time") from error
    except OSError as error:
        raise DestinationFailed(f"{where}: the connection broke: {error.strerror or 'closed by the server'}") from error
