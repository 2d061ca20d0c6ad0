"""The notifier's composition root."""

from __future__ import annotations

from services.notifier.addresses import Addresses
from services.notifier.contexts import Contexts
from services.notifier.courier import Courier
from services.notifier.fanout import Fanout
from services.notifier.handlers import Handlers
from services.notifier.lanes import Lanes
from services.notifier.relay import Relay
from services.notifier.retries import DEFAULT, Policy
from services.notifier.sender import Sender
from services.notifier.tokens import Tokens
from services.notifier.traffic import Traffic
from services.notifier.wording import Wording
from shared.broker import buckets
from shared.broker.durables import (
    NOTIFIER_CLIPS,
    NOTIFIER_EXPORTS,
    NOTIFIER_LIVE,
    NOTIFIER_RECORDINGS,
    NOTIFIER_REPLAY,
    NOTIFIER_RESTREAMS,
    NOTIFIER_SEND,
    NOTIFIER_TELL,
)
from shared.broker.kv import Bucket
from shared.messages.credentials import CredentialRecord
from shared.messages.notifications import DeliveryRecord, LaneRecord
from shared.runtime.service import Service
from shared.security.netguard.http import GuardedTransport
from shared.security.netguard.tls import trusting

BUCKET = buckets.DELIVERIES


def build(service: Service, policy: Policy = DEFAULT) -> None:
    """Build relay, addresses, lanes and sender, and register the handlers."""
    deliveries = Bucket(service.js, BUCKET, DeliveryRecord)
    lanes = Lanes(Bucket(service.js, BUCKET, LaneRecord))
    addresses = Addresses(service.js, service.vault)
    settings = service.settings
    transport = GuardedTransport(settings.allowed_networks, verify=trusting(settings.ca_file))
    tokens = Tokens(Bucket(service.js, buckets.CREDENTIALS, CredentialRecord), service.vault, transport, service.clock)
    sender = Sender(transport, service.clock, policy, tokens)
    courier = Courier(deliveries, lanes, addresses, sender, Traffic(), service.outbox, service.clock, policy)
    wording = Wording(addresses, Contexts(service.js), settings.base_url)
    fanout = Fanout(deliveries, lanes, addresses, wording, service.outbox, service.clock, policy)
    relay = Relay(service.js, service.outbox)
    handlers = Handlers(service.js, relay, fanout, courier)
    service.beside(sender.running)
    service.beside(relay.running)
    for durable in (NOTIFIER_CLIPS, NOTIFIER_LIVE, NOTIFIER_EXPORTS, NOTIFIER_RECORDINGS, NOTIFIER_RESTREAMS):
        service.handle(durable, handlers.event)
    service.handle(NOTIFIER_TELL, handlers.tell)
    service.handle(NOTIFIER_REPLAY, handlers.replay)
    service.handle(NOTIFIER_SEND, handlers.send)
