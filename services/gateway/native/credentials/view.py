"""Stored credentials as their client sees them."""

from __future__ import annotations

from services.gateway.native.credentials.models import CredentialView
from shared.messages.credentials import CredentialRecord


def view(record: CredentialRecord) -> CredentialView:
    """Return the view of credentials, without their secret."""
    return CredentialView(
        name=record.name,
        type=record.type,
        access_key=record.public,
        region=record.region,
        endpoint=record.endpoint,
        created_at=record.created_ms,
        modified_at=record.changed_ms,
    )
