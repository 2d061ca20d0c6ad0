"""Receivers that a request names: checked, and stored with their URLs and passwords encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.gateway.domain.destinations.destinations import Stored
from services.gateway.domain.errors import invalid
from services.gateway.domain.receivers import Receivers
from shared.messages.base import Notification, NotifyEvent
from shared.messages.credentials import is_for

MOST: Final = 16
NO_SUCH: Final = "there are no credentials of this name (POST /v1/credentials)"


class Receiver(NamedTuple):
    """A receiver of notifications: its field in the request, its URL, what it is notified of, its login, its form."""

    field: str
    url: str
    event: NotifyEvent
    credentials: str | None = None
    form: str = "standard"


@dataclass(frozen=True, slots=True)
class Told:
    """Makes the receivers of what a request creates."""

    receivers: Receivers

    def sealed(self, field: str, asked: Sequence[Receiver], stored: Stored) -> tuple[Notification, ...]:
        """Check receivers and return them with sealed URLs; Invalid. `field`: what they belong to, for errors."""
        found = dict.fromkeys(self._one(one, stored) for one in asked)
        if len(found) > MOST:
            raise invalid(f"{field}notifications", f"are at most {MOST}")
        return tuple(one.model_copy(update={"url": self.receivers.sealed(one.url)}) for one in found)

    def _one(self, asked: Receiver, stored: Stored) -> Notification:
        """Return a receiver with its checked URL, which has the user and password of credentials that have them."""
        url = self.receivers.checked(f"{asked.field}.url", asked.url, login=True)
        if asked.credentials is None:
            return Notification(url=url, event=asked.event, form=asked.form)
        field, record = f"{asked.field}.credentials", stored.named(asked.credentials)
        if record is None:
            raise invalid(field, NO_SUCH)
        if not is_for(record, url):
            raise invalid(field, f"are for {record.host} alone")
        if record.type == "oauth":
            if "@" in url.split("/", 3)[2]:
                raise invalid(field, "go with a URL without user and password")
            return Notification(url=url, event=asked.event, form=asked.form, credentials=record.credential)
        return Notification(url=self.receivers.with_login(field, url, record), event=asked.event, form=asked.form)
