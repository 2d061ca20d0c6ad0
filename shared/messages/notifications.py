"""Messages about webhooks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from shared.messages.base import HexId, Message, Millis, Record


class NotificationTell(Message):
    """Notify all receivers of an event."""

    channel: ClassVar[str] = "notifications.tell"

    subject: str = Field(pattern=r"^[^.]+(\.[^.]+){2,}$", description="The event's subject")
    position: int = Field(ge=1, description="The event's sequence in EVENTS")
    id: str = Field(
        "", description="The event's Nats-Msg-Id: a broker that lost its last events gives their sequences anew"
    )

    @property
    def subject_id(self) -> str:
        """Return the id of the resource that the event is about, as in its own subject."""
        return self.subject.rpartition(".")[2]

    @property
    def dedup_id(self) -> str:
        """Return one id per stored event."""
        return f"tell-{self.position}-{self.id}"


class NotificationMessage(Message):
    """About the webhooks of one lane: events that must arrive in order at one receiver (for instance, one clip's)."""

    lane: str = Field(pattern=r"^[0-9a-f]{32}$", description="Hash of receiver and resource")

    @property
    def subject_id(self) -> str:
        """Return the lane's id."""
        return self.lane


class NotificationSend(NotificationMessage):
    """Send the deliveries that wait in a lane."""

    channel: ClassVar[str] = "notifications.send"

    delivery: HexId = Field(description="The delivery that this was written for; what waits before it goes first")
    due_ms: Millis = Field(0, description="When another try is due; 0: the first one")

    @property
    def dedup_id(self) -> str:
        """Return one id per delivery and attempt."""
        return f"send-{self.delivery}-{self.due_ms}"


class NotificationReplay(NotificationMessage):
    """Send a delivery again, at a user's request."""

    channel: ClassVar[str] = "notifications.replay"

    delivery: HexId
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per request."""
        return f"replay-{self.delivery}-{self.at_ms}"


class WebhookEndpoint(Record):
    """A receiver of webhooks, in the bucket `webhooks` under `<account>.<endpoint>`; written by the gateway alone."""

    account: str
    endpoint: HexId
    url: str = Field(max_length=3072, description="Sealed: many receivers' URLs hold a token")
    events: tuple[str, ...] = Field(("*",), max_length=64, description="Channel names, or prefixes that end in *")
    secret: str = Field(description="Encrypted signing secret")
    enabled: bool = True
    description: str = Field("", max_length=512)
    form: str = Field("standard", pattern=r"^[a-z][a-z0-9_]{0,31}$", description="How it is told")
    options: dict[str, Any] = Field({}, description="What its form reads besides the event; its facade writes it")
    created_ms: Millis


class Attempt(Record):
    """One try to deliver."""

    at_ms: Millis
    status: int | None = None
    error: str = Field("", max_length=512)
    duration_ms: int = Field(0, ge=0)


class DeliveryRecord(Record):
    """The state of one webhook delivery, in the bucket `deliveries` under `<account>.<delivery>`; the notifier's.

    Its `webhook-id` is `msg_<delivery>`, the same on every try and replay.
    """

    account: str
    delivery: HexId
    lane: str
    position: int = Field(ge=0, description="Order within the lane: the event's sequence in EVENTS")
    endpoint: HexId | None = Field(None, description="None: a one-off receiver named in a request")
    url: str = Field(description="For people: without password and query")
    target: str = Field("", max_length=3072, description="The sealed URL of a one-off receiver")
    credentials: str = Field("", max_length=32, description="Id of those that give the token for its requests")
    type: str = Field(description="The event's channel")
    resource: str = Field(description="The id of what the event is about")
    payload: dict[str, Any]
    form: str = Field("standard", description="How it is posted, and what counts as read")
    brief: bool = Field(default=False, description="Given up after few tries that reached the receiver (ADR 5)")
    sealed: str = Field("", description="The body that is posted in place of the payload, sealed: it names secret URLs")
    state: Literal["pending", "delivered", "dead"]
    attempts: tuple[Attempt, ...] = Field((), max_length=64, description="The last ones")
    tries: int = Field(0, ge=0, description="Attempts since it was created or replayed")
    heard: int = Field(0, ge=0, description="Those of them that reached the receiver")
    created_ms: Millis
    deadline_ms: Millis = Field(description="When it is given up")
    next_ms: Millis | None = Field(None, description="When the next try is due, after a failed one")
    finished_ms: Millis | None = Field(None, description="When it was delivered or given up")
    replayed_ms: Millis | None = Field(None, description="The last wish to send it again")
    error: str = Field("", max_length=512, description="Why it was given up")


class LaneEntry(Record):
    """A delivery that waits in a lane."""

    position: int = Field(ge=0)
    delivery: HexId


class LaneRecord(Record):
    """Deliveries to one receiver about one resource, in order: bucket `deliveries`, under `_lane.<account>.<lane>`.

    One instance at a time sends from a lane: its `holder`.
    """

    account: str
    lane: str
    pending: tuple[LaneEntry, ...] = Field((), max_length=2000)
    holder: str = ""
    held_until_ms: Millis = 0
    next_ms: Millis = Field(0, description="Nothing is sent before")
    deaf: int = Field(0, ge=0, description="Brief deliveries in a row that reached the receiver and were given up")
