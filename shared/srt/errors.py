"""Errors of SRT.

```
ReelayError
├── SrtUnavailable   this machine has no libsrt; the message says how to install it
└── SrtError         a call of libsrt failed; carries libsrt's code
    └── SrtRefused   the listener did not accept the connection; carries its reason
```
"""

from __future__ import annotations

from shared.errors import ReelayError


class SrtUnavailable(ReelayError):  # noqa: N818  names the state, as Unavailable does
    """No usable libsrt on this machine; the message holds the command that installs one."""


class SrtError(ReelayError):
    """A call of libsrt failed; `code` is its SRT_ERRNO."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SrtRefused(SrtError):  # noqa: N818  as above
    """The listener refused or never answered; `reason` is its reject code (0: no answer)."""

    def __init__(self, message: str, code: int, reason: int) -> None:
        super().__init__(message, code)
        self.reason = reason
