"""Signatures are those of Standard Webhooks."""

from __future__ import annotations

import base64

import pytest

from services.notifier.signature import headers, sign
from shared.errors import Rejected
from shared.security.secrets import Vault
from shared.security.webhooks import account_secret, new_secret, secret_key
from tests.support.webhook_receiver import Request

# The test vector of the specification's own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
EXPECTED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_specification_s_vector_is_met_with_and_without_the_prefix() -> None:
    assert sign(SECRET, *VECTOR) == EXPECTED
    assert sign(SECRET.removeprefix("whsec_"), *VECTOR) == EXPECTED


def test_the_three_headers() -> None:
    secret, body = new_secret(), b'{"a":1}'
    fields = headers(secret, "d" * 32, 1_700_000_000_999, body)
    assert set(fields) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert (fields["webhook-id"], fields["webhook-timestamp"]) == ("msg_" + "d" * 32, "1700000000")
    assert Request("/", fields, body, 0).signed_by(secret, now=1_700_000_001)
    assert not Request("/", fields, body + b" ", 0).signed_by(secret, now=1_700_000_001)
    assert not Request("/", fields, body, 0).signed_by(new_secret(), now=1_700_000_001)


def test_secrets_are_random_and_long_enough() -> None:
    made = {new_secret() for _ in range(20)}
    assert len(made) == 20
    assert all(secret.startswith("whsec_") and len(secret_key(secret)) == 32 for secret in made)


def test_an_account_s_secret_is_its_own_and_stays() -> None:
    one, two = Vault(b"key"), Vault(b"another")
    assert account_secret(one, "main") == account_secret(Vault(b"key"), "main")
    assert len({account_secret(one, "main"), account_secret(one, "other"), account_secret(two, "main")}) == 3
    assert len(secret_key(account_secret(one, "main"))) == 32


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_%%%", "whsec_" + base64.b64encode(b"short").decode(), "whsec_" + "A" * 100]
)
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(Rejected):
        secret_key(secret)
