"""What opening a source needs, and waits that end when the reader is to stop."""

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
from shared.runtime.clock import Clock
from shared.security.netguard import Networks
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.base import ObjectMissing
from shared.store.reserve import Reserve

T = TypeVar("T")
LOOK_S: Final = 0.1  # how often a wait looks whether it is to end


class Stopped(SourceError):  # noqa: N818  it names what happened, and is no fault
    """The reader is to stop; nobody need be told."""

    def __init__(self) -> None:
        super().__init__("stopped", lasting=False)


class Gone(SourceError):  # noqa: N818  as above
    """What was there is not any more, or is broken; something else may be there in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(text, lasting=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much: tries go on for `tries` times `patience` without progress, which is `least`; in bytes.

    `block` is read at a time where jumps go to and fro, and `blocks` are kept. `skip` is read through where a server
    forgets ranges; `spool` is the largest file that is fetched whole because it cannot be read in any other way.
    `outage` is how long broker and store may be away while a recording is read.
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
    """Where files are put that must be fetched whole, and the room that stays free there; the system's own otherwise.

    They have no name from the start, so that the kernel forgets them with the process.
    """

    folder: Path | None = None
    reserve: Reserve | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What an account's sources are opened with. `js` is used on `loop`, from the threads that read.

    `restream` names in log lines what they are opened for.
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
    """Whom to trust; None: the usual authorities."""
    asking: Asking | None = None
    """Tells the archiver what of a recording's index cannot be read."""

    def ask(self, question: Callable[[JetStreamContext], Coroutine[object, object, T]], stop: Event) -> T:
        """Run a coroutine on the loop and wait for its answer; SourceError when broker or store do not answer."""

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
        """Do work that broker or store may be away for; SourceError when they stay away."""
        began = self.clock.monotonic_ns()
        while True:
            try:
                return work()
            except SourceError as error:
                waited = timedelta(microseconds=(self.clock.monotonic_ns() - began) // 1000)
                if error.lasting or isinstance(error, (Stopped, Gone)) or waited > self.limits.outage:
                    raise
            rest(stop, self.limits.pause.total_seconds())

    def credentials(self, name: str, stop: Event) -> CredentialRecord:
        """Look credentials up by their owner's name for them; SourceError when there are none."""
        bucket = Bucket(self.js, buckets.CREDENTIALS, CredentialRecord)
        stored = self.ask(lambda _: bucket.get(credential_key(self.account, name)), stop)
        if stored is None:
            raise SourceError("the credentials named for this source do not exist")
        return stored.value


def waited(answer: Future[T], stop: Event, within: timedelta) -> T:
    """Wait for an answer; Stopped, or SourceError when none comes in time."""
    end = time.monotonic() + within.total_seconds()
    while True:
        try:
            return answer.result(LOOK_S)
        except TimeoutError:
            if answer.done():  # the answer itself is that something took too long
                raise SourceError("it took too long to answer", lasting=False) from None
        if stop.is_set():
            raise Stopped
        if time.monotonic() > end:
            raise SourceError("it took too long to answer", lasting=False)


def stored(read: Callable[[], T], stop: Event, within: timedelta) -> T:
    """Read from the media store in a thread that is left behind when the wait ends. SourceError."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(read())
        except (ReelayError, OSError) as error:
            answer.set_exception(error)
        finally:
            answer.cancel()  # whatever else it was, nobody waits any longer

    Thread(target=work, name="source-store", daemon=True).start()
    try:
        return waited(answer, stop, within)
    except ObjectMissing as error:
        raise Gone("its file is no longer in the store") from error
    except SourceError:
        raise
    except (ReelayError, OSError, CancelledError) as error:
        raise SourceError("the media store does not answer", lasting=False) from error


def rest(stop: Event, pause: float) -> None:
    """Wait a while; Stopped."""
    if stop.wait(pause):
        raise Stopped
