"""The domain's errors: a branch of the tree in shared/errors.py, independent of HTTP.

```
Rejected
├── Invalid       fields are wrong: which, and why
├── NotFound      the account has no such thing
│   └── NotReady  it is not there yet; retry in a moment
├── StateConflict the state of the thing does not allow it
├── TooLarge      more than is accepted at once
├── TooMany       a limit of the account; carries when to retry
├── NoAnswer      another service did not answer in time
└── Denied        the caller may not do this
```
Each API renders them in its own format: http/problems.py for /v1, facades/<vendor>/errors.py for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

from shared.errors import Rejected

T = TypeVar("T")


class Fault(NamedTuple):
    """What is wrong with one field, by its name in the request; an empty name is the request as a whole."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field}: {self.why}" if self.field else self.why


class Invalid(Rejected):
    """Fields are wrong; the message names the first. `code` is for programs."""

    def __init__(self, *faults: Fault, code: str = "") -> None:
        super().__init__(str(faults[0]))
        self.faults: Sequence[Fault] = faults
        self.code = code


class NotFound(Rejected):
    """The account has no such thing."""


class NotReady(NotFound):
    """The thing is not there yet; retry after `wait`."""

    wait = timedelta(seconds=1)


class StateConflict(Rejected):
    """The state of the thing does not allow the request."""


class TooLarge(Rejected):
    """More than is accepted at once."""


class TooMany(Rejected):
    """A limit of the account or of its network is reached; retry after `wait`."""

    def __init__(self, code: str, message: str, wait: timedelta) -> None:
        super().__init__(message)
        self.code = code
        self.wait = wait


class NoAnswer(Rejected):
    """Another service did not answer in time."""


class Denied(Rejected):
    """The caller may not do this."""


def invalid(field: str, why: str, *, code: str = "") -> Invalid:
    """Return the error for one wrong field."""
    return Invalid(Fault(field, why), code=code)


def no_such(what: str) -> NotFound:
    """Return the error for an id that the account does not have."""
    return NotFound(f"there is no such {what}")


def gathered(works: Iterable[Callable[[], T]]) -> list[T]:
    """Return what each of several works makes; Invalid lists the faults of all of them."""
    made: list[T] = []
    faults: list[Fault] = []
    codes: set[str] = set()
    for work in works:
        try:
            made.append(work())
        except Invalid as error:
            faults += error.faults
            codes.add(error.code)
    if faults:
        raise Invalid(*faults, code=codes.pop() if len(codes) == 1 else "")
    return made
