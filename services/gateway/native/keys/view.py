"""API keys as their client sees them."""

from __future__ import annotations

from services.gateway.native.keys.models import KeyView
from shared.messages.keys import ApiKeyRecord


def view(record: ApiKeyRecord) -> KeyView:
    """Return a key's view, without its text."""
    return KeyView(
        id=record.key_id,
        account=record.account,
        scopes=list(record.scopes),
        label=record.label,
        created_at=record.created_ms,
        expires_at=record.expires_ms,
        dialect=record.dialect,
    )
