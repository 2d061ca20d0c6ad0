"""The messages that each receiver gets about an event, in its form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from services.notifier.addresses import Addresses
from services.notifier.contexts import Contexts
from services.notifier.events import Happening
from services.notifier.forms import FORMS, STANDARD, Context
from services.notifier.forms.standard import payload
from services.notifier.receivers import Receiver
from shared.messages.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Said:
    """A message: the payload shown to people and, where the posted body differs, that body, encrypted.

    `lost` is the reason why neither can ever be made.
    """

    payload: dict[str, Any] = field(default_factory=dict)
    sealed: str = ""
    brief: bool = False
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Wording:
    """Makes the messages."""

    addresses: Addresses
    contexts: Contexts
    base_url: str

    async def of(self, happening: Happening, receiver: Receiver) -> Said | None:
        """Return the message to a receiver; None when it is not told of this event. Raise Unavailable."""
        if receiver.subscription is not None:
            return await self._subscribed(happening, receiver.subscription)
        if receiver.form == STANDARD:
            return Said(payload(happening, receiver.notify, self.base_url))
        options = {"notify": receiver.notify, **receiver.options}
        return self._said(receiver.form, happening, {"server": self.base_url, **options})

    async def _subscribed(self, happening: Happening, subscription: Subscription) -> Said | None:
        context = await self.contexts.of(happening.event.account, subscription)
        return self._said(subscription.form, happening, context)

    def _said(self, name: str, happening: Happening, context: Context | None) -> Said | None:
        form = FORMS.get(name)
        if form is None:
            return Said(lost=f"there is no form {name} here")
        if not form.applies(happening, context or {}):
            return None
        if context is None:
            return Said(brief=form.brief, lost="what its messages repeat is no longer stored")
        try:
            words = form.body(happening, context, self.addresses.opened)
        except ValidationError:
            return Said(brief=form.brief, lost=f"what its messages repeat is not of the form {name}")
        return Said(words.shown, self.addresses.sealed(words.posted), form.brief)
