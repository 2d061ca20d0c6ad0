"""The receivers of an event: endpoints that chose it, receivers named in the clip's request, a subscription."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.notifier.events import Happening, digest
from services.notifier.forms import FORMS, STANDARD
from services.notifier.named import happened, named_in
from shared.messages.base import NotifyEvent
from shared.messages.notifications import WebhookEndpoint
from shared.messages.subscriptions import SubscribedEvent, Subscription


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver of one event. `notify` is the event that a receiver asked for which a request names.

    Each names the form in which it is told, an endpoint with `options` for it. `credentials` is the id of those that
    give the token for its requests.
    """

    url: str
    endpoint: str | None = None
    notify: NotifyEvent | None = None
    subscription: Subscription | None = None
    endpoint_form: str = STANDARD
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)
    credentials: str = ""

    @property
    def form(self) -> str:
        """The form of its messages."""
        return self.subscription.form if self.subscription else self.endpoint_form

    @property
    def identity(self) -> str:
        """A string that is the same for the same receiver in each event."""
        return f"endpoint {self.endpoint}" if self.endpoint else f"url {self.url}"

    def lane(self, happening: Happening) -> str:
        """Return the id of the lane that sends this resource's events, or all, to this receiver in order."""
        form = FORMS.get(self.form)
        resource = "" if form and form.one_lane else happening.resource
        return digest(happening.event.account, self.identity, resource)

    def delivery(self, happening: Happening) -> str:
        """Return the delivery's id: the same however often the event is read or published."""
        event = happening.event
        return digest(event.account, self.identity, self.notify or "", event.channel, event.dedup_id)


def chosen(patterns: Iterable[str], channel: str) -> bool:
    """Return whether a channel is one of the patterns, or has the prefix of a pattern that ends in `*`."""
    return any(channel == p or (p.endswith("*") and channel.startswith(p[:-1])) for p in patterns)


def receivers_of(happening: Happening, endpoints: Iterable[WebhookEndpoint]) -> list[Receiver]:
    """Return the receivers of an event, each once."""
    registered = (
        Receiver(endpoint.url, endpoint.endpoint, endpoint_form=endpoint.form, options=endpoint.options)
        for endpoint in endpoints
        if endpoint.enabled and chosen(endpoint.events, happening.type)
    )
    return list(dict.fromkeys((*registered, *_one_off(happening))))


def _one_off(happening: Happening) -> Iterator[Receiver]:
    event = happening.event
    if isinstance(event, SubscribedEvent) and event.subscription:
        yield Receiver(event.subscription.url, subscription=event.subscription)
    names = happened(event)
    for wish in named_in(event):
        if wish.event in names:
            yield Receiver(wish.url, notify=wish.event, endpoint_form=wish.form, credentials=wish.credentials or "")
