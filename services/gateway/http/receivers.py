"""Receivers of notifications as requests name them, in our API and in others that name them alike."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator

from services.gateway.domain.told import Receiver
from shared.messages.base import NotifyEvent


class NotificationAsk(BaseModel):
    """A receiver of notifications; a plain string is its url."""

    url: str = Field(min_length=1, max_length=2048)
    event: NotifyEvent = "state_changed"
    credentials: str | None = Field(
        None, max_length=128, description="Stored credentials: http (user and password), or oauth (a bearer token)"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


def receivers_of(prefix: str, asked: list[NotificationAsk], form: str = "standard") -> list[Receiver]:
    """Return the receivers that a request, or an output of it, names; they are told in a form."""
    return [
        Receiver(f"{prefix}notifications[{n}]", one.url, one.event, one.credentials, form)
        for n, one in enumerate(asked)
    ]
