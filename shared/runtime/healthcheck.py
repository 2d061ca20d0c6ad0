"""Health check for containers: `python -m shared.runtime.healthcheck` asks this machine's service for readiness."""

from __future__ import annotations

import http.client
import sys
from datetime import timedelta
from typing import Final

from shared.runtime.settings import Settings

PATIENCE: Final = timedelta(seconds=2)


def main() -> int:
    """Return 0 when /readyz on REELAY_HEALTH_PORT answers 200, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", Settings().health_port, timeout=PATIENCE.total_seconds())
    try:
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
