"""Stored credentials as their client sees them."""

from __future__ import annotations

from services.gateway.identity.credential_rules import MASK
from services.gateway.native.credentials.models import CredentialView, OauthShown
from shared.messages.credentials import CredentialRecord
from shared.security.secrets import redact_url


def view(record: CredentialRecord, token_url: str = "") -> CredentialView:
    """Return the view of credentials, without their secrets; `token_url` is the one that gives tokens, in clear."""
    return CredentialView(
        credential_id=record.credential,
        credential_label=record.name,
        credential_type=record.type,
        credential_public=record.public,
        credential_private=record.masked,
        credential_default_for_type=record.default_for_type,
        user_id=record.account,
        endpoint=record.endpoint,
        region=record.region,
        path_style=record.path_style,
        session_token=MASK if record.session_token else "",
        host_key=record.host_key,
        tls=record.tls,
        host=record.host,
        account_id=record.account_id,
        oauth_settings=OauthShown(url=redact_url(token_url)) if record.url else None,
        name=record.name,
        type=record.type,
        access_key=record.public,
        created_at=record.created_ms,
        modified_at=record.changed_ms,
    )
