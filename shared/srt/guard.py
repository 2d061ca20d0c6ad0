"""A guard for callbacks from C into Python."""

from __future__ import annotations

from types import TracebackType

from shared.runtime.logging import get_logger

log = get_logger()


class CallbackGuard:
    """Stops every exception at the boundary: C++ cannot handle one, and ctypes would return 0 instead.

    For libsrt 0 means "accepted", so the guarded code must start from the refusing answer. The log gets the kind
    and the line of the error, never its message, which may quote the SRT caller's data.
    """

    def __init__(self, event: str) -> None:
        self._event = event

    def __enter__(self) -> None:
        """Start guarded work."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Log the exception, if any, and suppress it."""
        if kind is not None:
            while traceback is not None and traceback.tb_next is not None:
                traceback = traceback.tb_next
            line = traceback.tb_lineno if traceback else 0
            name = traceback.tb_frame.f_code.co_qualname if traceback else ""
            log.error("srt.callback.failed", callback=self._event, error=kind.__name__, where=f"{name}:{line}")
        return True
