"""Subscriptions: receivers of events of a resource in another form, and the context of their messages (ADR 25).

The services that make, play or deliver the resource pass its subscription on unread. Its form is a file of the
notifier; its context is the data that the called API adds to every message, which the gateway stores once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from shared.messages.base import AccountId, Message, Millis, Record

MOST_DOCUMENT: Final = 128_000  # characters of JSON; the whole record stays far below the broker's max_payload of 1 MiB
SealedUrl = Annotated[str, StringConstraints(max_length=3072)]
ContextId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\.[0-9a-f]{16}$")]


class Subscription(Record):
    """A receiver of events, the form of its messages, and the keys of the contexts that they repeat."""

    form: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="How the receiver is told")
    url: SealedUrl
    context: ContextId | None = Field(None, description="What every message repeats, in the bucket `contexts`")
    base: ContextId | None = Field(None, description="Another one, of which that counts which `context` does not say")

    def renewed(self, new: Subscription) -> Subscription:
        """Return `new` based on this subscription: what its context does not say is taken from this one."""
        return new.model_copy(update={"base": self.base or self.context}) if new.form == self.form else new

    def moved(self, new: Subscription) -> Subscription:
        """Return this subscription with the receiver of `new`; the context stays."""
        return self.model_copy(update={"url": new.url}) if new.form == self.form else new

    @property
    def named(self) -> frozenset[str]:
        """The ids of the contexts that the subscription names."""
        return frozenset(name for name in (self.context, self.base) if name)


class SubscribedEvent(Message):
    """An event of a resource that may have a subscription."""

    subscription: Subscription | None = None


class SubscriptionContext(Record):
    """The data that messages repeat: bucket `contexts`, `<account>.<resource>.<fingerprint>`; the gateway writes it.

    A context never changes: an event names the one that was valid when it happened.
    """

    account: AccountId
    context: ContextId
    document: dict[str, Any] = Field(description="Of the facade's making, for the form alone; what is secret is sealed")
    unnamed_ms: Millis | None = Field(None, description="When it was found that nothing names it any more")

    @property
    def key(self) -> str:
        """The context's key in the bucket."""
        return context_key(self.account, self.context)


def context_key(account: str, context: str) -> str:
    """Return a context's key in the bucket `contexts`."""
    return f"{account}.{context}"
