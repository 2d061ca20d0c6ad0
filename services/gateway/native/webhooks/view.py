"""Receivers of webhooks and deliveries as their client sees them."""

from __future__ import annotations

from services.gateway.domain.webhooks.webhooks import Webhooks
from services.gateway.native.webhooks.models import AttemptView, DeliveryView, WebhookMade, WebhookView
from shared.messages.notifications import DeliveryRecord, WebhookEndpoint
from shared.security.secrets import redact_url


def view(webhooks: Webhooks, endpoint: WebhookEndpoint) -> WebhookView:
    """Return a receiver's view."""
    return WebhookView(
        id=endpoint.endpoint,
        url=webhooks.url_of(endpoint),
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.enabled,
        created_at=endpoint.created_ms,
    )


def made_view(webhooks: Webhooks, secret: str, endpoint: WebhookEndpoint) -> WebhookMade:
    """Return a receiver's view with its new secret."""
    return WebhookMade(**view(webhooks, endpoint).model_dump(), secret=secret)


def delivery_view(record: DeliveryRecord) -> DeliveryView:
    """Return a delivery's view; its URL without possible secrets."""
    return DeliveryView(
        id=record.delivery,
        webhook_id=record.endpoint,
        url=redact_url(record.url),
        type=record.type,
        resource=record.resource,
        state=record.state,
        attempts=[
            AttemptView(at=a.at_ms, status=a.status, error=a.error, duration_ms=a.duration_ms) for a in record.attempts
        ],
        created_at=record.created_ms,
        next_attempt_at=record.next_ms,
        payload=record.payload,
    )
