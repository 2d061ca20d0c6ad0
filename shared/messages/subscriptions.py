"""Who is told of a resource in a form of their own, and what every message to them repeats (ADR 25).

Whoever makes, plays or delivers the resource carries a subscription without looking into it. Its form is a file of the
notifier; its context is what the API that was called has to say in that form, which the gateway stores once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from shared.messages.base import AccountId, Message, Millis, Record

MOST_DOCUMENT: Final = 128_000  # characters of JSON; with all round it far below the broker's max_payload of 1 MiB
SealedUrl = Annotated[str, StringConstraints(max_length=3072)]
ContextId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\.[0-9a-f]{16}$")]


class Subscription(Record):
    """Whom to tell, how, and where that lies which every message repeats."""

    form: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="How the receiver is told")
    url: SealedUrl
    context: ContextId | None = Field(None, description="What every message repeats, in the bucket `contexts`")
    base: ContextId | None = Field(None, description="Another one, of which that counts which `context` does not say")

    def renewed(self, new: Subscription) -> Subscription:
        """Return it told by `new` from now on; what that leaves unsaid stays as it was."""
        return new.model_copy(update={"base": self.base or self.context}) if new.form == self.form else new

    def moved(self, new: Subscription) -> Subscription:
        """Return it with the receiver of `new`, told what it was told before."""
        return self.model_copy(update={"url": new.url}) if new.form == self.form else new

    @property
    def named(self) -> frozenset[str]:
        """The contexts that it names."""
        return frozenset(name for name in (self.context, self.base) if name)


class SubscribedEvent(Message):
    """An event of a resource that may have been subscribed to."""

    subscription: Subscription | None = None


class SubscriptionContext(Record):
    """What a form repeats: bucket `contexts`, under `<account>.<resource>.<fingerprint>`; the gateway's.

    It is never another: what an event names is what it was when the event happened.
    """

    account: AccountId
    context: ContextId
    document: dict[str, Any] = Field(description="Of the facade's making, for the form alone; what is secret is sealed")
    unnamed_ms: Millis | None = Field(None, description="When it was found that nothing names it any more")

    @property
    def key(self) -> str:
        """Where it lies."""
        return context_key(self.account, self.context)


def context_key(account: str, context: str) -> str:
    """Return a context's key in the bucket `contexts`."""
    return f"{account}.{context}"
