"""libsrt's threads and the interpreter's end: no crash, no hang, in every order."""

from __future__ import annotations

import subprocess
import sys

import pytest

PRELUDE = """
import os, sys, threading
from datetime import timedelta
from services.ingester.srt import SrtGrant, SrtLimits, SrtError, SrtListener, SrtUnavailable
from shared.runtime.clock import SystemClock
from shared.srt import library
from shared.srt.caller import CallOptions
from tests.support.srt_caller import SrtCaller
started = threading.Event()
def on_publish(publication):
    started.set()
    while publication.read(1000): pass
def send(caller):
    try:
        while True: caller.send(b'G' * 1316)
    except SrtError: pass
def listen():
    listener = SrtListener("127.0.0.1", 0, lambda request: SrtGrant(), on_publish, SrtLimits(), SystemClock())
    listener.start()
    return listener
"""

CASES = {
    "nothing_stopped": "l = listen(); c = SrtCaller('127.0.0.1', l.port); started.wait(30)",
    "listener_forgotten": "p = listen().port; import gc; gc.collect(); c = SrtCaller('127.0.0.1', p); started.wait(30)",
    "stopped": "l = listen(); c = SrtCaller('127.0.0.1', l.port); started.wait(30); c.close();"
    " assert l.stop(timedelta(seconds=30))",
    "sys_exit_in_traffic": "l = listen(); c = SrtCaller('127.0.0.1', l.port); started.wait(30)\n"
    "t = threading.Thread(target=lambda: send(c), daemon=True); t.start()\n"
    "sys.exit(0)",
    "forked": "import multiprocessing; l = listen(); c = SrtCaller('127.0.0.1', l.port); started.wait(30)\n"
    "p = multiprocessing.get_context('fork').Process(target=print); p.start(); p.join(); assert p.exitcode == 0\n"
    "SrtCaller('127.0.0.1', l.port).close()",
    "loaded_only": "library.load(); library.load()",
    "missing": "library.SONAMES = ()\nlibrary.find.__defaults__ = ((),)\n"
    "try: listen(); sys.exit(3)\n"
    "except SrtUnavailable as error: assert 'apt-get install -y libsrt1.5-gnutls' in str(error), error",
}


@pytest.mark.parametrize("case", CASES)
def test_a_process_ends_cleanly(case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + CASES[case]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr
