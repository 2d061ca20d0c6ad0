"""Endpoints are read as they are, whatever has become of their bucket."""

from pathlib import Path

from services.notifier.addresses import BUCKET, Addresses
from shared.broker.kv import Bucket
from shared.broker.provision import provision_url
from shared.messages.notifications import WebhookEndpoint
from shared.security.secrets import Vault
from tests.support.nats import nats_server
from tests.support.recordings import connected


def endpoint(digit: str) -> WebhookEndpoint:
    return WebhookEndpoint(
        account="main", endpoint=digit * 32, url=f"https://{digit}.example.com/", secret="", created_ms=1
    )  # fmt: skip


async def test_a_bucket_that_was_made_anew_is_read_anew(tmp_path: Path) -> None:
    with nats_server(tmp_path) as server:
        async with connected(server.url) as js:
            addresses, bucket = Addresses(lambda: js, Vault(b"test")), Bucket(lambda: js, BUCKET, WebhookEndpoint)
            for digit in "ab":
                await bucket.create(f"main.{digit * 32}", endpoint(digit))
                assert [e.endpoint for e in await addresses.endpoints("main")] == [digit * 32], "as many as before"
                await js.delete_stream(f"KV_{BUCKET}")
                await provision_url(server.url, 1)
