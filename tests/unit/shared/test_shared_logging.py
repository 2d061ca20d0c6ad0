"""What a fault leaves in the log."""

import subprocess
import sys

import pytest

CODE = """
from shared.runtime.logging import configure_logging, get_logger
configure_logging("test", json={json})
passphrase = "a-" + "secret"
try:
    raise ValueError("broken")
except ValueError:
    get_logger().exception("test.failed", part=1)
"""


@pytest.mark.parametrize("json", [False, True])
def test_a_fault_is_told_with_its_place_and_without_what_variables_hold(*, json: bool) -> None:
    done = subprocess.run([sys.executable, "-c", CODE.format(json=json)], check=True, capture_output=True, text=True)
    assert "test.failed" in done.stderr
    assert "ValueError: broken" in done.stderr
    assert "line 6" in done.stderr
    assert "a-secret" not in done.stderr
    assert "Warning" not in done.stderr
