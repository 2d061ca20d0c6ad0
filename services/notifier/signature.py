"""The headers by which a receiver checks that a request is ours, complete and recent: Standard Webhooks 1.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
"""

from __future__ import annotations

import base64
import hmac

from shared.security.webhooks import secret_key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign `<id>.<timestamp>.<body>` with HMAC-SHA256; timestamp in seconds. Raise Rejected for an invalid secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret_key(secret), content, 'sha256')).decode()}"


def headers(secret: str, delivery: str, now_ms: int, body: bytes) -> dict[str, str]:
    """Return the three headers of one try: the id is the same for all tries, the time is that of this one."""
    message_id, timestamp = f"msg_{delivery}", now_ms // 1000
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }
