"""Connections go to exactly the address that was checked."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import DestinationFailed, Rejected
from shared.security.netguard import AddressRefused, resolve_checked
from shared.security.netguard.blocking import connect_now
from shared.security.netguard.http import GuardedTransport, guarded_client, read_at_most
from shared.security.netguard.resolve import Lookup
from tests.support.webhook_receiver import Reply, webhook_receiver

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
NAME = "hooks.example.com"
TIMES = httpx.Timeout(10)


class Names:
    """A resolver that gives the next answer each time it is asked; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def client(lookup: Lookup | None, verify: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    return guarded_client(GuardedTransport(LOOPBACK, lookup=lookup, verify=verify), timeout=TIMES)


@pytest.mark.parametrize("literal", ["10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.0.0.2", "0"])
async def test_a_literal_is_checked_on_connecting_too(literal: str) -> None:
    async with guarded_client(GuardedTransport(()), timeout=TIMES) as http:
        with pytest.raises(Rejected):
            await http.post(f"http://{literal}:9/")


async def test_a_name_reaches_its_address_and_stays_the_host() -> None:
    names = Names(["127.0.0.1"])
    async with webhook_receiver() as receiver, client(names) as http:
        answer = await http.post(f"http://{NAME}:{receiver.port}/a", content=b"body")
    assert (answer.status_code, names.asked) == (200, [NAME])
    assert receiver.requests[0].headers["host"] == f"{NAME}:{receiver.port}"


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing() -> None:
    """DNS rebinding: the look-up that is checked is the only one, and its address the one that is used."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with webhook_receiver() as receiver, client(names) as http:
        assert (await http.post(f"http://{NAME}:{receiver.port}/")).status_code == 200
        with pytest.raises(AddressRefused):  # no connection is kept: the next request is checked anew
            await http.post(f"http://{NAME}:{receiver.port}/")
    assert len(receiver.requests) == 1
    assert names.asked == [NAME, NAME]


async def test_addresses_that_may_not_be_reached_are_passed_over() -> None:
    async with webhook_receiver() as receiver, client(Names(["10.0.0.1", "::1", "127.0.0.1"])) as http:
        assert (await http.post(f"http://{NAME}:{receiver.port}/")).status_code == 200


async def test_an_address_that_does_not_answer_hides_no_other() -> None:
    async with webhook_receiver() as receiver, client(Names(["127.0.0.9", "127.0.0.1"])) as http:
        assert (await http.post(f"http://{NAME}:{receiver.port}/")).status_code == 200


async def test_the_refusal_does_not_tell_the_address() -> None:
    async with client(Names(["10.11.12.13"])) as http:
        with pytest.raises(AddressRefused) as refusal:
            await http.post(f"http://{NAME}/")
    assert "10.11" not in str(refusal.value)


async def test_each_hop_of_a_redirect_is_checked() -> None:
    async with webhook_receiver() as receiver, client(None) as http:
        receiver.script = [Reply(302, {"Location": "http://10.0.0.1/"}), Reply(302, {"Location": "http://[::1]/"})]
        assert (await http.get(receiver.url())).status_code == 302  # not followed unless asked
        with pytest.raises(AddressRefused):
            await http.get(receiver.url(), follow_redirects=True)


async def test_proxy_settings_of_the_environment_are_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with webhook_receiver() as proxy, webhook_receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        async with client(None) as http:
            assert (await http.get(receiver.url())).status_code == 200
        assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_a_body_is_read_up_to_its_limit() -> None:
    async with webhook_receiver() as receiver, client(None) as http:
        receiver.default = Reply(endless=True)
        async with http.stream("GET", receiver.url()) as answer:
            assert len(await read_at_most(answer, 100_000)) == 100_000


async def test_a_lookup_that_hangs_ends_in_time() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(DestinationFailed):
        await resolve_checked(NAME, 80, allowed=(), lookup=never, within=dt.timedelta(milliseconds=50))


async def test_the_system_is_asked_and_unknown_names_are_told() -> None:
    assert [str(a) for a in await resolve_checked("localhost", 80, allowed=LOOPBACK)] == ["127.0.0.1"]
    assert [str(a) for a in await resolve_checked("127.1", 80, allowed=LOOPBACK)] == ["127.0.0.1"]
    with pytest.raises(AddressRefused):
        await resolve_checked("localhost", 80, allowed=())
    for name in ("a..b", "x" * 64 + ".invalid"):
        with pytest.raises(DestinationFailed):
            await resolve_checked(name, 80, allowed=(), within=dt.timedelta(seconds=20))


async def test_tls_asks_for_the_name_and_refuses_another_certificate(tmp_path: Path) -> None:
    server, trust = certificate(tmp_path, NAME)
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with webhook_receiver(server) as receiver, client(Names(["127.0.0.1"]), trust) as http:
        assert (await http.post(f"https://{NAME}:{receiver.port}/")).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.post(f"https://other.example.com:{receiver.port}/")
    assert asked == [NAME, "other.example.com"]


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a self-signed certificate: the server's context, and that of a client which trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    trust = ssl.create_default_context(cadata=pem.decode())
    return server, trust


def test_a_thread_connects_to_checked_addresses_only() -> None:
    within = dt.timedelta(seconds=10)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connect_now(NAME, port, allowed=LOOPBACK, within=within, lookup=lambda *_: ["10.0.0.1", "127.0.0.1"]) as s:
            assert s.getpeername() == ("127.0.0.1", port)
        with pytest.raises(AddressRefused):
            connect_now(NAME, port, allowed=(), within=within, lookup=lambda *_: ["127.0.0.1"])
    with pytest.raises(DestinationFailed, match="could not be reached"):
        connect_now("127.0.0.1", port, allowed=LOOPBACK, within=within)
