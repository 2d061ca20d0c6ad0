"""The boundary where C calls Python."""

from __future__ import annotations

from types import TracebackType

from shared.runtime.logging import get_logger

log = get_logger()


class CallbackGuard:
    """Ends every exception at the boundary: C++ has nowhere to put one, and ctypes would answer 0 in its place.

    For libsrt 0 means "accepted", so the code around it must start from the refusing answer. What is logged is
    the kind and the line of the error, never its message: that may quote what the caller sent.
    """

    def __init__(self, event: str) -> None:
        self._event = event

    def __enter__(self) -> None:
        """Begin guarded work."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Log what was raised, if anything, and let it go no further."""
        if kind is not None:
            while traceback is not None and traceback.tb_next is not None:
                traceback = traceback.tb_next
            line = traceback.tb_lineno if traceback else 0
            name = traceback.tb_frame.f_code.co_qualname if traceback else ""
            log.error("srt.callback.failed", callback=self._event, error=kind.__name__, where=f"{name}:{line}")
        return True
