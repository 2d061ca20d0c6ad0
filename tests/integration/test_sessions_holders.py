"""Asking the holder of a lease whether it lives: who is replaced, and who is not."""

from __future__ import annotations

import pytest
from nats.js import JetStreamContext

from services.ingester import leases as leases_module
from services.ingester.holders import Holders
from services.ingester.leases import Lease, Leases
from shared.errors import Rejected
from shared.kv import Bucket
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import new_id

ACCOUNT = "main"


def leases(js: JetStreamContext, instance: str) -> Leases:
    """Make an instance on a machine of its own, which asks and can be asked."""
    made = Leases(
        Bucket(lambda: js, "leases", Lease),
        instance,
        f"host-{instance}",
        Holders(lambda: js._nc),
    )
    made.me = made.me.model_copy(update={"machine": f"machine of {instance}"})
    return made


async def test_a_holder_that_did_not_answer_and_has_renewed_since_is_asked_again(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEW_S", 0.05)
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        await a.take(ACCOUNT, event, session)
        before = a.epoch(ACCOUNT, event, session) or 0
        assert not await b.is_elsewhere(ACCOUNT, event), "nobody answers"
        async with a.renewing():

            async def renewed() -> bool:
                return (a.epoch(ACCOUNT, event, session) or 0) > before

            await until(renewed)
            with pytest.raises(Rejected):
                await b.take(ACCOUNT, event, new_id())
        assert await b.holder(ACCOUNT, event, session) == "lives"
