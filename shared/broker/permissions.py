"""The broker's users for nats-server's configuration: one per service, with permissions from the tables.

A service may publish its own channels, schedules and dead letters, write its own buckets, read the streams and buckets
that list it as a reader, and use its own consumers. Each service has its own inbox for answers, which no other reads.
The subjects of JetStream's API: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from typing import Final

from shared.broker.provision import USER
from shared.broker.streams import BUCKETS, DEADLETTERS, SCHEDULES, STREAMS, consumers_of
from shared.broker.subjects import CHANNELS, dead_letter_subject, failure_subject, inbox_prefix, schedule_subject
from shared.runtime.readiness import probe_name

SERVICES: Final = (
    "gateway", "scheduler", "ingester", "proxy-encoder", "archiver", "clipper", "exporter", "restreamer", "notifier",
)  # fmt: skip
OPERATOR: Final = "operator"  # people: dead letters, backups
HOLDER: Final = "ingester"  # its instances ask each other who is alive (shared.broker.subjects.holder_subject)
USERS: Final = (*SERVICES, USER, OPERATOR)
API: Final = "$JS.API"
HEAD: Final = "# Generated from the tables in shared/broker/ by `make contracts`; do not edit.\n"


def password_variable(user: str) -> str:
    """Return the name of the environment variable that holds a user's password."""
    return f"NATS_{user.upper().replace('-', '_')}_PASSWORD"


def publishes(service: str) -> list[str]:
    """Return the subjects that a service may publish to."""
    probe = failure_subject(probe_name(service), 0)
    parts = (_of_channels(service), _of_consumers(service), _of_streams(service), _of_buckets(service))
    asked = (f"{inbox_prefix(service)}.>",) if service == HOLDER else ()
    own = f"{API}.DIRECT.GET.{DEADLETTERS}.{probe}"  # to read the broker's time stamp
    return sorted({probe, own, *asked, *chain.from_iterable(parts)})


def _of_channels(service: str) -> Iterable[str]:
    for channel in CHANNELS:
        if service not in channel.publishers:
            continue
        if channel.stream == SCHEDULES:  # the broker itself publishes due messages
            yield from (schedule_subject("*", "*"), f"{API}.STREAM.PURGE.{SCHEDULES}")
        else:
            yield channel.pattern


def hears(service: str) -> list[str]:
    """Return the subjects, besides its inbox, that a service may subscribe to: the commands that it handles."""
    return sorted(f"{spec.channel}.*.*" for spec in consumers_of(service) if spec.turns)


def _of_consumers(service: str) -> Iterable[str]:
    for spec in consumers_of(service):
        consumer = f"{spec.stream}.{'*' if spec.turns else spec.durable}"  # one per account in the service's stream
        yield from (f"{API}.CONSUMER.MSG.NEXT.{consumer}", f"$JS.ACK.{consumer}.>")
        if spec.turns:
            yield from (f"{API}.STREAM.INFO.{spec.stream}", f"{API}.CONSUMER.CREATE.{spec.stream}.*.{spec.channel}.*.*")
        else:
            yield f"{API}.CONSUMER.INFO.{consumer}"
        yield from (dead_letter_subject(spec.durable, "*"), failure_subject(spec.durable, "*"))
        yield f"{API}.STREAM.MSG.GET.{DEADLETTERS}"


def _of_streams(service: str) -> Iterable[str]:
    for spec in STREAMS:
        if service in spec.readers:
            yield from _look_ups(spec.name)
        if service in spec.pruners:
            yield from (f"{API}.STREAM.PURGE.{spec.name}", f"{API}.STREAM.MSG.DELETE.{spec.name}")


def _of_buckets(service: str) -> Iterable[str]:
    for spec in BUCKETS:
        if service in {spec.owner, *spec.removers}:
            yield f"$KV.{spec.name}.>"
        if service in {spec.owner, *spec.readers}:
            stream = f"KV_{spec.name}"
            yield from _look_ups(stream)
            yield from (f"{API}.CONSUMER.CREATE.{stream}", f"$JS.FC.{stream}.>")  # to list and to watch
            yield from (f"{API}.CONSUMER.{verb}.{stream}.>" for verb in ("CREATE", "INFO", "MSG.NEXT", "DELETE"))


def _look_ups(stream: str) -> Iterable[str]:
    yield from (f"{API}.STREAM.INFO.{stream}", f"{API}.STREAM.MSG.GET.{stream}")
    yield from (f"{API}.DIRECT.GET.{stream}", f"{API}.DIRECT.GET.{stream}.>")


def users_conf() -> str:
    """Return the users' part of nats-server's configuration; passwords come from its environment."""
    users = [_user(name, publishes(name), [f"{inbox_prefix(name)}.>", *hears(name)]) for name in SERVICES]
    users += [_user(USER, [f"{API}.>", *_moves()], [f"{inbox_prefix(USER)}.>"]), _user(OPERATOR, [">"], [">"])]
    return f"{HEAD}authorization {{\n  timeout: 5\n  users: [\n{''.join(users)}  ]\n}}\n"


def _moves() -> list[str]:
    """Return the subjects that an upgrade publishes to: it moves commands from the old queue into the new ones."""
    return sorted(channel.pattern for channel in CHANNELS if channel.kind == "command")


def _user(name: str, publish: list[str], subscribe: list[str]) -> str:
    allowed = "".join(f"          {json.dumps(subject)}\n" for subject in publish)
    return (
        f"    {{\n      user: {json.dumps(name)}, password: ${password_variable(name)}\n"
        f"      permissions {{\n        publish: [\n{allowed}        ]\n"
        f"        subscribe: {json.dumps(subscribe)}\n      }}\n    }}\n"
    )
