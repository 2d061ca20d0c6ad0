"""Routes of webhooks and their deliveries."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request

from services.gateway.domain.lists.lists import DELIVERY_RESOURCE, DELIVERY_STATE, DELIVERY_WEBHOOK
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.webhooks.deliveries import Deliveries
from services.gateway.domain.webhooks.webhooks import Webhooks
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import AskedPage
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.native.webhooks.models import (
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
from services.gateway.native.webhooks.view import delivery_view, made_view, view

router: Final = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Depends(broker_here)])
Allowed = Annotated[Caller, Depends(require("webhooks"))]
TheWebhooks = Annotated[Webhooks, Depends(part(Webhooks))]
TheDeliveries = Annotated[Deliveries, Depends(part(Deliveries))]


@router.post("", status_code=201, openapi_extra=documents(WebhookCreate))
async def create_webhook(
    request: Request,
    caller: Allowed,
    webhooks: TheWebhooks,
    asked: Annotated[WebhookCreate, Depends(json_body(WebhookCreate))],
) -> WebhookMade:
    """Make a receiver of webhooks; its signing secret is shown once."""
    events, ident = tuple(asked.events), (await id_maker(request, caller.account))(0)
    made = await webhooks.create(
        caller.account, asked.url, events, asked.description, enabled=asked.enabled, ident=ident
    )
    return made_view(webhooks, *made)


@router.get("")
async def list_webhooks(caller: Allowed, webhooks: TheWebhooks) -> WebhookList:
    """List the account's receivers."""
    return WebhookList(webhooks=[view(webhooks, e) for e in await webhooks.all_of(caller.account)])


@router.get("/notification-secret")
async def get_notification_secret(caller: Allowed, webhooks: TheWebhooks) -> NotificationSecret:
    """Read the secret that signs `notifications` of the account's requests."""
    return NotificationSecret(secret=webhooks.notification_secret(caller.account))


@router.get("/deliveries")
async def list_deliveries(
    caller: Allowed,
    deliveries: TheDeliveries,
    paging: AskedPage,
    state: DeliveryState | None = None,
    webhook_id: Annotated[str | None, Query(max_length=64, description="Of this receiver")] = None,
    resource: Annotated[str | None, Query(max_length=64, description="About this clip or job")] = None,
) -> DeliveryList:
    """List webhooks that were sent, are on their way, or were given up (`dead`)."""
    asked = {DELIVERY_STATE: state, DELIVERY_WEBHOOK: webhook_id, DELIVERY_RESOURCE: resource}
    wanted = Wanted({number: value for number, value in asked.items() if value is not None})
    page = await deliveries.list.page(caller.account, wanted, paging)
    return DeliveryList(deliveries=[delivery_view(d) for d in page.items], next_token=page.next_token)


@router.get("/deliveries/{delivery_id}")
async def get_delivery(caller: Allowed, deliveries: TheDeliveries, delivery_id: HexPath) -> DeliveryView:
    """Read a delivery with its attempts."""
    return delivery_view(await deliveries.get(caller.account, delivery_id))


@router.post("/deliveries/{delivery_id}/replay", status_code=202)
async def replay_delivery(caller: Allowed, deliveries: TheDeliveries, delivery_id: HexPath) -> DeliveryView:
    """Send a delivery again, whatever its state."""
    return delivery_view(await deliveries.replay(caller.account, delivery_id))


@router.get("/{webhook_id}")
async def get_webhook(caller: Allowed, webhooks: TheWebhooks, webhook_id: HexPath) -> WebhookView:
    """Read a receiver."""
    return view(webhooks, await webhooks.get(caller.account, webhook_id))


@router.put("/{webhook_id}", openapi_extra=documents(WebhookUpdate))
async def update_webhook(
    caller: Allowed,
    webhooks: TheWebhooks,
    webhook_id: HexPath,
    asked: Annotated[WebhookUpdate, Depends(json_body(WebhookUpdate))],
) -> WebhookView:
    """Change a receiver; absent fields stay."""
    changes = asked.model_dump(exclude_none=True)
    if asked.events is not None:
        changes["events"] = tuple(asked.events)
    return view(webhooks, await webhooks.update(caller.account, webhook_id, changes))


@router.post("/{webhook_id}/secret")
async def replace_secret(caller: Allowed, webhooks: TheWebhooks, webhook_id: HexPath) -> WebhookMade:
    """Replace a receiver's signing secret; the old one is no longer used."""
    return made_view(webhooks, *await webhooks.new_secret(caller.account, webhook_id))


@router.delete("/{webhook_id}", status_code=204)
async def delete_webhook(caller: Allowed, webhooks: TheWebhooks, webhook_id: HexPath) -> None:
    """Remove a receiver."""
    await webhooks.delete(caller.account, webhook_id)
