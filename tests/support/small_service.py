"""A stand-in for a service: `small_service.py NAME FOLDER [stubborn] [crashing] [parent]`. Standard library only.

Adds a line to FOLDER/NAME.log at its start and at its clean end. stubborn: ignores SIGTERM. crashing: ends at once.
parent: starts a child process, whose id goes to FOLDER/NAME.child.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main(name: str, folder: str, *manners: str) -> int:
    log = Path(folder) / f"{name}.log"

    def note(text: str) -> None:
        with log.open("a") as file:
            file.write(f"{text} {os.getpid()}\n")

    if "parent" in manners:
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
        (Path(folder) / f"{name}.child").write_text(str(child.pid))
    # Blocked and waited for: a handler would lose a SIGTERM that comes between "started" and the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    note("started")
    print(f"{name} runs, http {os.environ.get('REELAY_HTTP_PORT')}", flush=True)
    if "crashing" in manners:
        return 3
    while "stubborn" in manners:
        signal.pause()
    signal.sigwait({signal.SIGTERM})
    note("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
