"""Why a publisher is not let in: one word for the protocols' codes, and words for the person at the encoder."""

from __future__ import annotations

from typing import Literal

from shared.errors import Rejected

Why = Literal["no_key", "ambiguous", "unknown", "over", "taken", "disk_full", "later", "unsupported"]


class PublishRefused(Rejected):
    """A publisher may not publish. The message is told to it, and holds nothing of what it sent."""

    def __init__(self, message: str, why: Why = "unknown") -> None:
        super().__init__(message)
        self.why: Why = why
        self.fields: dict[str, str] = {}
        """What a log line says of the job, when it is known."""

    def about(self, account: str, event: str) -> PublishRefused:
        """Name the job."""
        self.fields = {"job": event, "account": account}
        return self


def taken() -> PublishRefused:
    """Return the refusal of one who comes while another publishes."""
    return PublishRefused("another publisher is at this job", "taken")


def later() -> PublishRefused:
    """Return the refusal of one about whom nothing can be found out now."""
    return PublishRefused("the key cannot be looked up now, try again in some seconds", "later")


def disk_full() -> PublishRefused:
    """Return the refusal of one whose stream could not be stored."""
    return PublishRefused("the server's disk is full, nothing can be recorded now", "disk_full")
