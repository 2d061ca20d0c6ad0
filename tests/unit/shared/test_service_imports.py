"""What a service's process does not load until it is needed: each costs every start and every instance."""

import subprocess
import sys

import pytest

SERVICES = (
    "archiver", "clipper", "exporter", "gateway", "ingester", "notifier", "proxy_encoder", "restreamer", "scheduler",
)  # fmt: skip
TELL = "import sys, services.{0}.app; print(*sys.modules)"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_loads_what_it_needs(service: str) -> None:
    loaded = subprocess.run([sys.executable, "-c", TELL.format(service)], check=True, capture_output=True, text=True)
    unwanted = {"boto3"} | ({"numpy"} if service == "gateway" else set())
    assert not unwanted & set(loaded.stdout.split())
