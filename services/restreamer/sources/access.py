"""Everything that opening a source needs, and waits that end when the reader is stopped."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Final, TypeVar

from nats.js import JetStreamContext
from pydantic import ValidationError

from services.restreamer.model import SourceError
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import ReelayError, Transient
from shared.messages.credentials import CredentialRecord, credential_key
from shared.recording.asking import Asking
from shared.runtime.clock import Clock, from_ns
from shared.security.netguard import Networks
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.base import ObjectMissing
from shared.store.reserve import Reserve

T = TypeVar("T")
LOOK: Final = timedelta(milliseconds=100)  # how often a wait checks for a stop


class Stopped(SourceError):  # noqa: N818  it names an event, and is not a fault
    """The reader was stopped; this is not reported."""

    def __init__(self) -> None:
        super().__init__("stopped", lasting=False)


class Gone(SourceError):  # noqa: N818  as above
    """The data is gone or broken; something else may have replaced it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, lasting=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of time and size (bytes). Tries end after `tries` times `patience` without progress of `least` bytes.

    Random access reads a `block` at a time and keeps `blocks` of them. Up to `skip` bytes are read and dropped when a
    server stops serving ranges; `spool` is the largest file that is fetched whole because it can be read in no other
    way. `outage` is how long broker and store may be away while a recording is read.
    """

    patience: timedelta = timedelta(seconds=10)
    tries: int = 3
    pause: timedelta = timedelta(milliseconds=300)
    least: int = 1 << 14
    redirects: int = 5
    block: int = 1 << 18
    ahead: int = 4
    skip: int = 256 << 20
    spool: int = 4 << 30
    blocks: int = 8
    playlist: int = 8 << 20
    segments: int = 50_000
    picture: int = 5 << 20
    side: int = 4096
    outage: timedelta = timedelta(seconds=60)
    live_return: timedelta = timedelta(seconds=5)
    live_silence: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Spool:
    """The folder for files that must be fetched whole (None: the system's), and the disk space to keep free there.

    The files have no name from the start, so that the kernel removes them when the process ends.
    """

    folder: Path | None = None
    reserve: Reserve | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """The parts with which an account's sources are opened. Reading threads use `js` on `loop`.

    `restream` identifies the restream in log lines.
    """

    account: str
    vault: Vault
    allowed: Networks
    store: MediaStore
    library: Path
    js: Callable[[], JetStreamContext]
    loop: asyncio.AbstractEventLoop
    clock: Clock
    limits: Limits = Limits()
    spool: Spool = Spool()
    restream: str = ""
    tls: ssl.SSLContext | None = None
    """The trusted authorities; None: the usual ones."""
    asking: Asking | None = None
    """Tells the archiver which hours of a recording's index cannot be read."""

    def ask(self, question: Callable[[JetStreamContext], Coroutine[object, object, T]], stop: Event) -> T:
        """Run a coroutine on the loop and return its result; raise SourceError when broker or store do not answer."""

        async def put() -> T:
            return await question(self.js())

        asked = asyncio.run_coroutine_threadsafe(put(), self.loop)
        try:
            return waited(asked, stop, self.limits.patience)
        except SourceError:
            raise
        except ReelayError as error:
            raise SourceError(str(error), lasting=not isinstance(error, Transient)) from error
        except ValidationError as error:
            raise SourceError("a record of it cannot be read") from error
        finally:
            asked.cancel()

    def patiently(self, work: Callable[[], T], stop: Event) -> T:
        """Repeat work while broker or store are away; raise SourceError when they stay away for `outage`."""
        began = self.clock.monotonic_ns()
        while True:
            try:
                return work()
            except SourceError as error:
                waited = from_ns(self.clock.monotonic_ns() - began)
                if error.lasting or isinstance(error, (Stopped, Gone)) or waited > self.limits.outage:
                    raise
            rest(stop, self.limits.pause)

    def credentials(self, name: str, stop: Event) -> CredentialRecord:
        """Return the credentials that the account has under a name; raise SourceError when there are none."""
        bucket = Bucket(self.js, buckets.CREDENTIALS, CredentialRecord)
        stored = self.ask(lambda _: bucket.get(credential_key(self.account, name)), stop)
        if stored is not None and stored.value.name == name:
            return stored.value
        there = self.ask(lambda _: bucket.items(self.account), stop)  # renamed ones keep their key
        found = next((one.value for one in there if one.value.name == name), None)
        if found is None:
            raise SourceError("the credentials named for this source do not exist")
        return found


def waited(answer: Future[T], stop: Event, within: timedelta) -> T:
    """Return an answer; raise Stopped, or SourceError when none comes in time."""
    end = time.monotonic() + within.total_seconds()
    while True:
        try:
            return answer.result(LOOK.total_seconds())
        except TimeoutError:
            if answer.done():  # the answer itself is a timeout
                raise SourceError("it took too long to answer", lasting=False) from None
        if stop.is_set():
            raise Stopped
        if time.monotonic() > end:
            raise SourceError("it took too long to answer", lasting=False)


def stored(read: Callable[[], T], stop: Event, within: timedelta) -> T:
    """Read from the media store in a thread, which is abandoned when the wait ends. Raise SourceError."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(read())
        except (ReelayError, OSError) as error:
            answer.set_exception(error)
        finally:
            answer.cancel()  # no answer after any other error: end the wait

    Thread(target=work, name="source-store", daemon=True).start()
    try:
        return waited(answer, stop, within)
    except ObjectMissing as error:
        raise Gone("its file is no longer in the store") from error
    except SourceError:
        raise
    except (ReelayError, OSError, CancelledError) as error:
        raise SourceError("the media store does not answer", lasting=False) from error


def rest(stop: Event, pause: timedelta) -> None:
    """Wait; raise Stopped."""
    if stop.wait(pause.total_seconds()):
        raise Stopped
