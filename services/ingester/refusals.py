"""Why a publisher is refused: a word for the protocols' codes, and a message for the person at the encoder."""

from __future__ import annotations

from typing import Literal

from shared.errors import Rejected

Why = Literal["no_key", "ambiguous", "unknown", "over", "taken", "disk_full", "later", "unsupported", "denied"]


class PublishRefused(Rejected):
    """A publisher may not publish. The message is sent to it, and repeats nothing that it sent."""

    def __init__(self, message: str, why: Why = "unknown") -> None:
        super().__init__(message)
        self.why: Why = why
        self.fields: dict[str, str] = {}
        """The job's log fields, when it is known."""

    def about(self, account: str, event: str) -> PublishRefused:
        """Add the job's log fields, and return the refusal."""
        self.fields = {"job": event, "account": account}
        return self


def taken() -> PublishRefused:
    """Return the refusal for a publisher that connects while another one publishes."""
    return PublishRefused("another publisher is at this job", "taken")


def later() -> PublishRefused:
    """Return the refusal for a publisher whose key cannot be looked up now."""
    return PublishRefused("the key cannot be looked up now, try again in some seconds", "later")


def denied() -> PublishRefused:
    """Return the refusal for a publisher whom the owner of the job does not let in."""
    return PublishRefused("the owner of this stream does not let you publish", "denied")


def disk_full() -> PublishRefused:
    """Return the refusal for a publisher whose stream could not be stored."""
    return PublishRefused("the server's disk is full, nothing can be recorded now", "disk_full")
