"""Bodies of requests and answers about webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field

from shared.broker.streams import EVENTS
from shared.broker.subjects import CHANNELS

EVENT_NAMES: Final = tuple(c.name for c in CHANNELS if c.kind == "event" and c.stream == EVENTS)
DeliveryState = Literal["pending", "delivered", "dead"]


def _event_filter(text: str) -> str:
    """Accept the name of an event, or a prefix of some that ends in `*`; ValueError."""
    stem = text.removesuffix("*")
    known = any(name.startswith(stem) for name in EVENT_NAMES) if text.endswith("*") else text in EVENT_NAMES
    if not known:
        raise ValueError(f"is none of {', '.join(EVENT_NAMES)}, nor a prefix of one that ends in *")
    return text


EventFilter = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_event_filter)]


class WebhookCreate(BaseModel):
    """A new receiver of webhooks."""

    url: str = Field(min_length=1, max_length=2048)
    events: list[EventFilter] = Field(["*"], min_length=1, max_length=64, description="Names, or prefixes with *")
    description: str = Field("", max_length=512)
    enabled: bool = True


class WebhookUpdate(BaseModel):
    """The fields of a receiver to change; absent ones stay."""

    url: str | None = Field(None, min_length=1, max_length=2048)
    events: list[EventFilter] | None = Field(None, min_length=1, max_length=64)
    description: str | None = Field(None, max_length=512)
    enabled: bool | None = None


class WebhookView(BaseModel):
    """A receiver of webhooks, without its secret."""

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_at: int


class WebhookMade(WebhookView):
    """A receiver with its signing secret (Standard Webhooks), which is shown only here."""

    secret: str


class NotificationSecret(BaseModel):
    """The secret that signs notifications to receivers that are named in requests (Standard Webhooks)."""

    secret: str


class WebhookList(BaseModel):
    """An account's receivers."""

    webhooks: list[WebhookView]


class AttemptView(BaseModel):
    """One attempt to deliver."""

    at: int
    status: int | None
    error: str
    duration_ms: int


class DeliveryView(BaseModel):
    """One webhook on its way to one receiver."""

    id: str
    webhook_id: str | None = Field(description="null: a receiver that was named in a request")
    url: str = Field(description="Without its query")
    type: str
    resource: str
    state: DeliveryState
    attempts: list[AttemptView]
    created_at: int
    next_attempt_at: int | None
    payload: dict[str, Any]


class DeliveryList(BaseModel):
    """A page of deliveries."""

    deliveries: list[DeliveryView]
    next_token: str | None
