"""`reelay up`: the stack on a terminal, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys

from services.cli.errors import StackError
from services.cli.stack import Output, Programs, Stack
from shared.runtime.reachable import in_url, reachable_host
from shared.runtime.settings import Settings

ADMIN_KEY = "admin.key"


def run_up(settings: Settings) -> int:
    """Run until Ctrl-C, SIGTERM or SIGHUP and return the exit code (0 after a clean stop)."""
    allow_many_files()
    target = sys.stdout.fileno()
    output = Output(target, colour=wants_colour(target), json_lines=settings.log_json)
    return asyncio.run(run_stack(settings, output))


def allow_many_files() -> None:
    """Raise the limit of open files to what the system allows; each live stream holds a few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def wants_colour(target: int) -> bool:
    """Return whether to colour the output to `target` (https://no-color.org)."""
    return os.isatty(target) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class StopSignals:
    """Ctrl-C, SIGTERM and SIGHUP (unless ignored, as under nohup): the first stops the stack, the second kills it."""

    def __init__(self, stack: Stack) -> None:
        self.asked = asyncio.Event()
        self._stack = stack
        self._loop = asyncio.get_running_loop()
        self._numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            self._numbers.append(signal.SIGHUP)
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._came)

    def _came(self) -> None:
        if self.asked.is_set():
            self._stack.say("killing everything")
            self._stack.kill()
            return
        self._stack.say("stopping; once more kills everything at once")
        self.asked.set()


async def run_stack(settings: Settings, output: Output, programs: Programs | None = None) -> int:
    """Run a stack (of `programs` in place of the services, if given) until asked to stop; return the exit code."""
    stack = Stack(settings, output, programs)
    signals = StopSignals(stack)
    known_key = (stack.settings.data_dir / ADMIN_KEY).exists()
    work = asyncio.create_task(_start(stack, output, new_key=not known_key))
    asked = asyncio.create_task(signals.asked.wait())
    try:
        await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            await asked
    except (StackError, OSError) as error:
        for line in str(error).splitlines():
            stack.say(f"error: {line}")
        return 1
    finally:
        for task in (work, asked):
            task.cancel()
        await asyncio.gather(work, asked, return_exceptions=True)
        await stack.stop()
    return 0


async def _start(stack: Stack, output: Output, *, new_key: bool) -> None:
    await stack.start()
    await stack.wait_until_ready()
    settings, ports = stack.settings, {name: port.number for name, port in stack.ports.items()}
    host = in_url(reachable_host(settings.host))
    base = settings.public_url or f"http://{host}:{ports['http']}"
    stack.say(f"ready: {base}  rtmp://{host}:{ports['rtmp']}  srt://{host}:{ports['srt']}")
    key_file = settings.data_dir / ADMIN_KEY
    if settings.given_admin_key:
        stack.say("the admin API key is that of the settings (REELAY_ADMIN_KEY)")
        return
    if not key_file.exists():
        return
    # A new key is shown once, on the terminal of the person who made it, and never in a log file.
    if new_key and os.isatty(output.target):
        stack.say(f"admin API key: {key_file.read_text().strip()} (kept in {key_file})")
    else:
        stack.say(f"the admin API key is in {key_file}")
