"""When a holder is gone for sure."""

from __future__ import annotations

import os
import subprocess

import pytest

from shared.runtime.lease import Holder, is_gone

ME = Holder.here("node-1", "host")
ENDED = subprocess.Popen(["true"])
ENDED.wait()

HOLDERS = {
    "itself": (ME, False),
    "before it, of its name and number": (ME.model_copy(update={"token": "another"}), True),
    "beside it, of its number in another's tests": (ME.model_copy(update={"token": "b", "instance": "node-2"}), False),
    "a process that lives": (Holder(instance="node-1", pid=os.getppid(), machine=ME.machine), False),
    "a process that ended": (Holder(instance="node-1", pid=ENDED.pid, machine=ME.machine), True),
    "another began under its number": (Holder(instance="a", pid=os.getppid(), machine=ME.machine, started=1), True),
    "on another machine": (Holder(instance="node-1", pid=ENDED.pid, machine="another"), False),
    "of an unknown machine": (Holder(instance="node-1", pid=ENDED.pid), False),
}


@pytest.mark.parametrize("who", HOLDERS)
def test_a_holder_is_gone_only_when_that_is_sure(who: str) -> None:
    holder, gone = HOLDERS[who]
    assert is_gone(holder, ME) is gone
