"""The notifier of `webhook_child.py`, which dies as by SIGKILL at the step that DIES_AT names."""

import asyncio
import os

from services.notifier.app import build
from shared.messages.base import Message
from shared.messages.notifications import NotificationSend, NotificationTell
from shared.runtime.logging import configure_logging
from shared.runtime.service import Service, application, make_service
from shared.runtime.settings import Settings
from tests.support.webhook_child import HASTY

PLACES = {
    "before it passes an event on": (NotificationTell, False),
    "when it has passed an event on": (NotificationTell, True),
    "before it has a delivery sent": (NotificationSend, False),
    "when it has one of several deliveries sent": (NotificationSend, True),
}
NUMBER = 5


def dies(service: Service, kind: type[Message], *, after: bool) -> None:
    """End the process at its fifth message of a kind, before it is published or right after."""
    emit, seen = service.outbox.emit, 0

    async def dying(message: Message) -> int:
        nonlocal seen
        seen += isinstance(message, kind)
        if seen >= NUMBER and not after:
            os._exit(9)
        place = await emit(message)
        if seen >= NUMBER:
            os._exit(9)
        return place

    service.outbox.emit = dying  # type: ignore[method-assign]


def main() -> None:
    configure_logging("notifier", json=False)
    service = make_service("notifier", Settings())
    kind, after = PLACES[os.environ["DIES_AT"]]
    dies(service, kind, after=after)
    build(service, HASTY)
    asyncio.run(application(service).run())


if __name__ == "__main__":
    main()
