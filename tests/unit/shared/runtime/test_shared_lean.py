"""What a service's process imports."""

import subprocess
import sys

import pytest

SERVICES = (
    "archiver", "clipper", "exporter", "gateway", "ingester", "notifier", "proxy_encoder", "restreamer", "scheduler",
)  # fmt: skip
TELL = "import sys, services.{0}.app; print(*sys.modules)"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_command_line_and_no_pretty_printer(service: str) -> None:
    loaded = subprocess.run([sys.executable, "-c", TELL.format(service)], check=True, capture_output=True, text=True)
    unwanted = {"rich", "pygments", "attr", "boto3"}
    if service == "gateway":  # it serves with uvicorn, whose package imports click
        unwanted |= {"numpy"}
    else:
        unwanted |= {"uvicorn", "click"}
    assert not unwanted & set(loaded.stdout.split())


def test_who_asks_for_them_otherwise_gets_them() -> None:
    code = "import shared, structlog, httpx; import rich.console, click; print(rich.console.Console, click.command)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
