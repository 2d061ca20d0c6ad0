"""Who guesses at passphrases and ids gets slow; nobody else at the same address does."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta

from structlog.testing import capture_logs

from services.ingester.refusals import later
from services.ingester.srt import SrtError, SrtGrant, SrtLimits, SrtListener, SrtRequest
from shared.runtime.clock import SystemClock
from shared.srt.constants import Reject
from shared.srt.errors import SrtRefused
from tests.support.srt_caller import call, refused
from tests.support.srt_ingest import PASSPHRASE, Ingest, ingest, wait_for


def test_who_guesses_at_a_stream_is_slowed_and_nobody_else_at_its_address() -> None:
    limits = SrtLimits(guesses=3, guesses_regained=timedelta(seconds=3600))
    with capture_logs() as lines, ingest({"cam": PASSPHRASE, "other": PASSPHRASE}, limits) as server:
        for turn in range(3):
            refused(server.port, "cam", f"guess number {turn}")
        wait_for(lambda: any(line["event"] == "srt.peer.throttled" for line in lines), "the guesses are throttled")
        asked = len(server.asked)
        assert refused(server.port, "cam", "guess number 4") == Reject.OVERLOAD
        assert len(server.asked) == asked == 3
        call(server.port, "other", PASSPHRASE).close()


def test_a_wrong_stream_id_shuts_out_nobody_at_its_address() -> None:
    """By the limits as they are: an encoder that was set up wrongly tries again and again, behind the same router."""
    with ingest({"cam": PASSPHRASE}) as server:
        reasons = [refused(server.port, "cmm", PASSPHRASE) for _ in range(2 * SrtLimits().refusals)]
        assert reasons[0] == Reject.FORBIDDEN
        assert Reject.OVERLOAD in reasons
        for number in range(10):
            refused(server.port, f"made up {number}", PASSPHRASE)
        call(server.port, "cam", PASSPHRASE).close()


def guess_without_end(port: int, stop: threading.Event, tried: list[int]) -> None:
    while not stop.is_set():
        with suppress(SrtError):
            call(port, "cam", f"guess number {tried[0]}").close()
        tried[0] += 1


def test_the_right_passphrase_is_let_in_while_others_at_its_address_guess() -> None:
    stop, tried = threading.Event(), [0]
    with ingest({"cam": PASSPHRASE}) as server:
        guessing = [threading.Thread(target=guess_without_end, args=(server.port, stop, tried)) for _ in range(3)]
        for thread in guessing:
            thread.start()
        try:
            wait_for(lambda: tried[0] > 150, "there were more guesses than the budget has")

            def let_in() -> bool:
                try:
                    call(server.port, "cam", PASSPHRASE).close()
                except SrtRefused:
                    return False
                return True

            wait_for(let_in, "the right passphrase is let in")
        finally:
            stop.set()
            for thread in guessing:
                thread.join()


def test_what_is_no_fault_of_the_caller_costs_it_nothing() -> None:
    """Another one publishes, the disk is full, the broker is away: encoders try again until it is over."""
    over = threading.Event()

    def authorize(request: SrtRequest) -> SrtGrant | None:
        if not over.is_set():
            raise later()
        return SrtGrant(label=request.resource)

    kept = Ingest({}, SrtLimits())
    limits = SrtLimits(refusals=2, refusals_regained=timedelta(seconds=3600))
    listener = SrtListener("127.0.0.1", 0, authorize, kept.on_publish, limits, SystemClock())
    listener.start()
    try:
        assert [refused(listener.port, "cam") for _ in range(5)] == [Reject.DOWN] * 5
        over.set()
        call(listener.port, "cam").close()
    finally:
        assert listener.stop(timedelta(seconds=30))
