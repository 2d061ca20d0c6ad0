"""Which IP addresses may be reached: public unicast, and the networks that the operator allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from shared.errors import Rejected
from shared.runtime.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Iterable[Network]

# IANA's special-purpose registries, and networks that `ipaddress` calls global although users must not reach them.
# https://www.iana.org/assignments/iana-ipv4-special-registry  https://www.iana.org/assignments/iana-ipv6-special-registry
_CLOSED_V4: Final = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata server is 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, a public address that answers only inside Azure
        "169.254.0.0/16",  # link-local; most clouds' metadata server is 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocols; Oracle's metadata server was 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relay, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")  # all of global unicast; the rest is local or a translation
_CLOSED_V6: Final = tuple(
    ipaddress.IPv6Network(net)
    for net in (
        "2001::/23",  # IETF protocols; Teredo carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address
        "3fff::/20",  # documentation
    )
)

HOW_TO_ALLOW: Final = "the setting REELAY_ALLOW_NETS opens networks"


class AddressRefused(Rejected):
    """The host has no address that may be reached; the message does not name its addresses."""


def is_public(address: Address) -> bool:
    """Return whether an address is public unicast. IPv4 inside IPv6 (mapped, NAT64, 6to4, Teredo) never is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in net for net in _CLOSED_V4)
    # a zone names an interface of this machine
    return address.scope_id is None and address in _OPEN_V6 and not any(address in net for net in _CLOSED_V6)


def is_reachable(address: Address, allowed: Networks) -> bool:
    """Return whether a user's URL may reach an address: a public one, or one in `allowed`."""
    return is_public(address) or any(address in net for net in allowed)
