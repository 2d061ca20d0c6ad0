"""The receivers of an event: endpoints that chose it, receivers named in the clip's request, a subscription."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.notifier.events import Happening, digest
from services.notifier.forms import FORMS, STANDARD
from shared.messages.base import Message, Notification, NotifyEvent
from shared.messages.clips import ClipStateChanged, SegmentAccurateReady
from shared.messages.live import JobStateChanged
from shared.messages.notifications import WebhookEndpoint
from shared.messages.subscriptions import SubscribedEvent, Subscription

OUTPUT_FINISHED = frozenset({"finished", "cancelled", "failed", "error"})


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
    wishes: tuple[Notification, ...] = getattr(event, "notifications", ())
    happened = _notify_events(event) if wishes else set()
    for wish in wishes:
        if wish.event in happened:
            yield Receiver(wish.url, notify=wish.event, endpoint_form=wish.form, credentials=wish.credentials or "")


def _notify_events(event: Message) -> set[NotifyEvent]:
    """Return an event's names in requests."""
    if isinstance(event, JobStateChanged):
        first = event.state == "processing" and event.previous in {"standby", "waiting"}
        return {"state_changed", "first_segment_uploaded"} if first else {"state_changed"}
    if isinstance(event, SegmentAccurateReady):
        return {"first_segment_uploaded"}
    if not isinstance(event, ClipStateChanged):
        return set()
    return {"state_changed", "output_finished"} if event.state in OUTPUT_FINISHED else {"state_changed"}
