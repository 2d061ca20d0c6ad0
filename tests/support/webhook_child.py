"""The notifier in its own process, with short pauses: `webhook_child.py` with the settings of a service."""

import asyncio
from datetime import timedelta

from services.notifier.app import build
from services.notifier.retries import Policy
from shared.runtime.logging import configure_logging
from shared.runtime.service import application, make_service
from shared.runtime.settings import Settings

HASTY = Policy(delays=(timedelta(milliseconds=200),), hold=timedelta(seconds=1), whole=timedelta(seconds=1))


def main() -> None:
    configure_logging("notifier", json=False)
    service = make_service("notifier", Settings())
    build(service, HASTY)
    asyncio.run(application(service).run())


if __name__ == "__main__":
    main()
