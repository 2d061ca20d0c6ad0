"""Event sinks: receivers of an account's events about exports. Each is a webhook's endpoint with a form of its own."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.gateway.domain.errors import NotFound, invalid, no_such
from services.gateway.domain.webhooks.webhooks import Telling, Webhooks
from services.gateway.facades.flussonic.body import read
from services.gateway.facades.flussonic.models import LARGEST_CONFIG, RESET, merged
from services.gateway.facades.flussonic.streams import VENDOR
from shared.messages.clips import ClipStateChanged
from shared.messages.notifications import WebhookEndpoint

EVENTS: Final = (
    "dvr_mp4_export_aborted", "dvr_mp4_export_failed", "dvr_mp4_export_ready", "dvr_mp4_export_start",
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~@+-]{0,127}")
_CONFIG: Final = "config"
Value = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Values = Annotated[list[Value], Field(min_length=1, max_length=64)]
FilterMap = Annotated[dict[Annotated[str, Field(max_length=64)], Values], Field(min_length=1, max_length=16)]


class SinkConfig(BaseModel):
    """What a client sets of a sink; fields that are not named here are kept and shown, and change nothing."""

    model_config = ConfigDict(extra="allow")

    url: str = Field(min_length=1, max_length=2048)
    only: list[FilterMap] | None = Field(None, max_length=16)
    less: list[FilterMap] | None = Field(None, alias="except", max_length=16)
    extra: dict[str, Any] | None = None


class Sinks:
    """Finds, makes, changes and removes sinks. A sink's id is made of its name: the same PUT again is the same sink."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def put(self, account: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Make a sink, or merge a patch into it, and return it; Invalid, TooMany."""
        if not _NAME.fullmatch(name):
            raise invalid("name", "must be 1 to 128 letters, digits and _ . - ~ @ +")
        known = await self._known(account, name)
        before = self._config(known) if known else {}
        config = merged(before, {k: v for k, v in patch.items() if k == RESET or k not in {"name", "reelay"}})
        sink = read(SinkConfig, config)
        if len(str(config)) > LARGEST_CONFIG:
            raise invalid("", f"the configuration takes more than {LARGEST_CONFIG} bytes")
        url, options = self._webhooks.normal("/url", sink.url), options_of(sink, {**config, "name": name})
        if known is None:
            _, known = await self._webhooks.create(
                account, url, (ClipStateChanged.channel,), f"Event sink {name}", enabled=True, ident=_ident(name),
                how=Telling(VENDOR, options),
            )  # fmt: skip
        if known.options != options or self._webhooks.url_of(known) != url:
            known = await self._webhooks.update(account, known.endpoint, {"url": url, "options": options})
        return self.view(known)

    async def get(self, account: str, name: str) -> dict[str, Any]:
        """Return a sink; NotFound."""
        known = await self._known(account, name)
        if known is None:
            raise no_such("event sink")
        return self.view(known)

    async def all_of(self, account: str) -> list[dict[str, Any]]:
        """Return an account's sinks."""
        return [self.view(one) for one in await self._webhooks.all_of(account) if one.form == VENDOR]

    async def delete(self, account: str, name: str) -> None:
        """Remove a sink; NotFound."""
        await self.get(account, name)
        await self._webhooks.delete(account, _ident(name))

    async def _known(self, account: str, name: str) -> WebhookEndpoint | None:
        try:
            return await self._webhooks.get(account, _ident(name))
        except NotFound:
            return None

    def _config(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        return {**endpoint.options.get(_CONFIG, {}), "url": self._webhooks.url_of(endpoint)}

    def view(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        """Return a sink as clients see it."""
        return {**self._config(endpoint), "reelay": {"webhook": endpoint.endpoint, "enabled": endpoint.enabled}}


def options_of(sink: SinkConfig, config: dict[str, Any]) -> dict[str, Any]:
    """Return what the form reads of a sink, and what is kept to be shown."""
    return {
        "only": sink.only or [], "less": sink.less or [], "extra": sink.extra or {},
        _CONFIG: {key: value for key, value in config.items() if key != "url"},
    }  # fmt: skip


def _ident(name: str) -> str:
    return hashlib.sha256(f"{VENDOR} event sink\0{name}".encode()).hexdigest()[:32]
