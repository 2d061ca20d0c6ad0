"""Which addresses a user's URL may reach.

Two checks, both needed. `check_url` refuses at request time what is visible in the URL itself. At connect time the
name is resolved, every address is checked, and the connection goes to exactly the checked address, so that a
name that points elsewhere a moment later (DNS rebinding) gains nothing: `resolve_checked` for any protocol
(`shared.security.netguard.blocking` for threads), `shared.security.netguard.http.GuardedTransport` for HTTP.
"""

from shared.security.netguard.addresses import Address, AddressRefused, Networks, is_reachable
from shared.security.netguard.resolve import resolve_checked
from shared.security.netguard.urls import CheckedUrl, UrlRefused, check_url

__all__ = [
    "Address",
    "AddressRefused",
    "CheckedUrl",
    "Networks",
    "UrlRefused",
    "check_url",
    "is_reachable",
    "resolve_checked",
]
