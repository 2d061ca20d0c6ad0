"""Routes of webhooks and their deliveries."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request

from services.gateway.domain.lists.lists import DELIVERY_RESOURCE, DELIVERY_STATE, DELIVERY_WEBHOOK
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.urls import receiver_url
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import Paging
from services.gateway.http.problems import not_found
from services.gateway.identity.auth import Caller, deps_of, require
from services.gateway.native.webhooks.models import (
    AttemptView,
    DeliveryList,
    DeliveryState,
    DeliveryView,
    NotificationSecret,
    WebhookCreate,
    WebhookList,
    WebhookMade,
    WebhookUpdate,
    WebhookView,
)
from shared.messages.notifications import DeliveryRecord, NotificationReplay, WebhookEndpoint
from shared.secrets import redact_url

router: Final = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Depends(broker_here)])
Allowed = Annotated[Caller, Depends(require("webhooks"))]


def _view(request: Request, endpoint: WebhookEndpoint) -> WebhookView:
    return WebhookView(
        id=endpoint.endpoint,
        url=deps_of(request).webhooks.url_of(endpoint),
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.enabled,
        created_at=endpoint.created_ms,
    )


def _made(request: Request, secret: str, endpoint: WebhookEndpoint) -> WebhookMade:
    return WebhookMade(**_view(request, endpoint).model_dump(), secret=secret)


def _delivery(record: DeliveryRecord) -> DeliveryView:
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


@router.post("", status_code=201, openapi_extra=documents(WebhookCreate))
async def create_webhook(
    request: Request, caller: Allowed, asked: Annotated[WebhookCreate, Depends(json_body(WebhookCreate))]
) -> WebhookMade:
    """Make a receiver of webhooks; its signing secret is told once."""
    deps = deps_of(request)
    url = receiver_url("url", asked.url, deps.settings)
    made = await deps.webhooks.create(
        caller.account, url, tuple(asked.events), asked.description, enabled=asked.enabled
    )
    return _made(request, *made)


@router.get("")
async def list_webhooks(request: Request, caller: Allowed) -> WebhookList:
    """List the account's receivers."""
    return WebhookList(webhooks=[_view(request, e) for e in await deps_of(request).webhooks.all_of(caller.account)])


@router.get("/notification-secret")
async def get_notification_secret(request: Request, caller: Allowed) -> NotificationSecret:
    """Read the secret that signs `notifications` of the account's requests."""
    return NotificationSecret(secret=deps_of(request).webhooks.notification_secret(caller.account))


@router.get("/deliveries")
async def list_deliveries(
    request: Request,
    caller: Allowed,
    paging: Annotated[Paging, Depends()],
    state: DeliveryState | None = None,
    webhook_id: Annotated[str | None, Query(max_length=64, description="Of this receiver")] = None,
    resource: Annotated[str | None, Query(max_length=64, description="About this clip or job")] = None,
) -> DeliveryList:
    """List webhooks that were sent, are on their way, or were given up (`dead`)."""
    asked = {DELIVERY_STATE: state, DELIVERY_WEBHOOK: webhook_id, DELIVERY_RESOURCE: resource}
    wanted = Wanted({number: value for number, value in asked.items() if value is not None})
    page = await deps_of(request).delivery_list.page(caller.account, wanted, paging)
    return DeliveryList(deliveries=[_delivery(d) for d in page.items], next_token=page.next_token)


async def _read(request: Request, caller: Caller, delivery_id: str) -> DeliveryRecord:
    stored = await deps_of(request).deliveries.get(f"{caller.account}.{delivery_id}")
    if stored is None:
        raise not_found("delivery")
    return stored.value


@router.get("/deliveries/{delivery_id}")
async def get_delivery(request: Request, caller: Allowed, delivery_id: HexPath) -> DeliveryView:
    """Read a delivery with its tries."""
    return _delivery(await _read(request, caller, delivery_id))


@router.post("/deliveries/{delivery_id}/replay", status_code=202)
async def replay_delivery(request: Request, caller: Allowed, delivery_id: HexPath) -> DeliveryView:
    """Send a delivery again, whatever became of it."""
    record = await _read(request, caller, delivery_id)
    deps = deps_of(request)
    await deps.outbox.emit(
        NotificationReplay(
            account=caller.account, lane=record.lane, delivery=record.delivery, at_ms=deps.clock.now_ms()
        )
    )
    return _delivery(record)


@router.get("/{webhook_id}")
async def get_webhook(request: Request, caller: Allowed, webhook_id: HexPath) -> WebhookView:
    """Read a receiver."""
    return _view(request, await deps_of(request).webhooks.get(caller.account, webhook_id))


@router.put("/{webhook_id}", openapi_extra=documents(WebhookUpdate))
async def update_webhook(
    request: Request,
    caller: Allowed,
    webhook_id: HexPath,
    asked: Annotated[WebhookUpdate, Depends(json_body(WebhookUpdate))],
) -> WebhookView:
    """Change a receiver; what is absent stays."""
    deps = deps_of(request)
    changes = asked.model_dump(exclude_none=True)
    if asked.url is not None:
        changes["url"] = deps.webhooks.sealed(receiver_url("url", asked.url, deps.settings))
    if asked.events is not None:
        changes["events"] = tuple(asked.events)
    return _view(request, await deps.webhooks.update(caller.account, webhook_id, changes))


@router.post("/{webhook_id}/secret")
async def replace_secret(request: Request, caller: Allowed, webhook_id: HexPath) -> WebhookMade:
    """Replace a receiver's signing secret; the old one signs nothing any more."""
    return _made(request, *await deps_of(request).webhooks.new_secret(caller.account, webhook_id))


@router.delete("/{webhook_id}", status_code=204)
async def delete_webhook(request: Request, caller: Allowed, webhook_id: HexPath) -> None:
    """Remove a receiver."""
    await deps_of(request).webhooks.delete(caller.account, webhook_id)
