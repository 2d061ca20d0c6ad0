"""The tree of errors that services raise; the branch decides what happens to the message being handled.

```
ReelayError
├── Transient            another try may succeed: the message comes again after a growing delay
│   ├── Unavailable      the broker, the store or another part of Reelay does not answer
│   └── NotYet           the message needs something that does not exist yet; carries the delay until the next try
├── Permanent            no later try can succeed: the message goes to the dead letters
│   ├── Rejected         the request cannot be served as asked (the requester's fault)
│   └── MediaError       the media cannot be read or cut
├── DestinationFailed    the user's own destination failed; retried, then reported as the user's
└── (others)             errors of one service or library, handled where it is called: the restreamer's SourceError,
                         the gateway's ApiError, RtmpError, SrtError ...
```
A handler that raises one of the others is tried again, as after any unexpected fault. Exceptions whose names begin
with an underscore control the flow of one module and never leave it.
"""

from __future__ import annotations

from datetime import timedelta


class ReelayError(Exception):
    """The root of everything Reelay raises itself."""


class Transient(ReelayError):  # noqa: N818  the branch names what to do, not a thing
    """Another try may succeed."""


class Unavailable(Transient):
    """The broker, the store or another part of Reelay does not answer."""


class NotYet(Transient):
    """Something needed does not exist yet; try again after `delay`. Does not count as a failure."""

    def __init__(self, message: str, delay: timedelta) -> None:
        super().__init__(message)
        self.delay = delay


class Permanent(ReelayError):  # noqa: N818  as above
    """No later try can succeed."""


class Rejected(Permanent):
    """The request cannot be served as asked; the message is written for the requester."""


class MediaError(Permanent):
    """The media cannot be read, joined or cut."""


class DestinationFailed(ReelayError):  # noqa: N818  as above
    """The user's own destination failed; `final` when another try cannot succeed (a refused password, say)."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final
