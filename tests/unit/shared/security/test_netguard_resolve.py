"""Which of a name's addresses are given to connect to."""

from __future__ import annotations

import ipaddress

import pytest

from shared.security.netguard import AddressRefused, resolve_checked

INSIDE = (ipaddress.ip_network("10.1.0.0/16"),)
PUBLIC, PUBLIC_V6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

KEPT = [
    ([PUBLIC], [PUBLIC]),
    ([PUBLIC, "10.0.0.1"], [PUBLIC]),
    (["10.0.0.1", PUBLIC], [PUBLIC]),
    (["127.0.0.1", "::1", PUBLIC_V6, "169.254.169.254", PUBLIC], [PUBLIC_V6, PUBLIC]),
    (["::ffff:127.0.0.1", "64:ff9b::7f00:1", PUBLIC], [PUBLIC]),
    (["10.1.2.3", "10.2.2.3", PUBLIC], ["10.1.2.3", PUBLIC]),
    ([PUBLIC, PUBLIC, "0.0.0.0"], [PUBLIC]),
    ([*(f"192.168.0.{n}" for n in range(20)), PUBLIC], [PUBLIC]),
    ([f"93.184.215.{n}" for n in range(1, 20)], [f"93.184.215.{n}" for n in range(1, 9)]),
]


@pytest.mark.parametrize(("found", "kept"), KEPT)
async def test_of_public_and_private_addresses_only_those_that_may_be_reached_are_given(
    found: list[str], kept: list[str]
) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return found

    given = await resolve_checked("hooks.example.com", 443, allowed=INSIDE, lookup=lookup)
    assert [str(address) for address in given] == kept


async def test_a_name_with_private_addresses_alone_is_refused() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "fd00::1", "::ffff:192.168.0.1"]

    with pytest.raises(AddressRefused):
        await resolve_checked("hooks.example.com", 443, allowed=INSIDE, lookup=lookup)
