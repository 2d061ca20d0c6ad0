"""The only code that creates and updates streams, consumers and buckets. Idempotent.

Run as `python -m shared.broker.provision` before the services; each service waits until its own consumers exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, BadRequestError, NotFoundError

from shared.broker.nodes import parse_nodes
from shared.broker.streams import BUCKETS, CONSUMERS, STREAMS, BucketSpec, ConsumerSpec, StreamSpec
from shared.broker.subjects import inbox_prefix
from shared.broker.upgrade import move, retire
from shared.errors import ReelayError
from shared.runtime.logging import configure_logging, get_logger
from shared.runtime.settings import Settings
from shared.store.opening import make_bucket

log = get_logger()
USER: Final = "provision"
BUCKET_WINDOW: Final = timedelta(minutes=2)
CLUSTER: Final = timedelta(seconds=30)
PAUSE: Final = timedelta(milliseconds=500)
ANSWER: Final = timedelta(seconds=10)
NO_CLUSTER: Final = 10074  # JSStreamReplicasNotSupportedErr, nats-server's server/errors.json
NAME_IN_USE: Final = 10058  # JSStreamNameExistErr: the stream exists with another configuration


def stream_config(spec: StreamSpec, replicas: int) -> StreamConfig:
    """Return the server's configuration for a table row."""
    return StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=RetentionPolicy.WORK_QUEUE if spec.retention == "workqueue" else RetentionPolicy.LIMITS,
        max_age=spec.max_age.total_seconds(),
        max_bytes=spec.max_bytes,
        max_msgs_per_subject=spec.max_per_subject,
        duplicate_window=spec.duplicate_window.total_seconds(),
        discard=DiscardPolicy.NEW if spec.discard == "new" else DiscardPolicy.OLD,
        storage=StorageType.FILE,
        num_replicas=replicas,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_msg_schedules=spec.schedules or None,
    )


def consumer_config(spec: ConsumerSpec) -> ConsumerConfig:
    """Return the server's configuration for a table row. The middleware counts tries: the server counts waits, too."""
    return ConsumerConfig(
        durable_name=spec.durable,
        filter_subject=spec.filter,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=spec.ack_wait.total_seconds(),
        max_deliver=-1,
        max_ack_pending=spec.max_ack_pending,
    )


async def provision(js: JetStreamContext, replicas: int = 1) -> None:
    """Create or update everything in the tables; raise NatsError when the broker refuses."""
    old = await retire(js)
    for stream in STREAMS:
        await _stream(js, stream, replicas, first=old + 1 if old and stream.retention == "workqueue" else None)
    if old is not None:
        await move(js)
    for spec in (spec for spec in CONSUMERS if not spec.turns):
        await js.add_consumer(spec.stream, consumer_config(spec))
    for bucket in BUCKETS:
        await _bucket(js, bucket, replicas)


async def _stream(js: JetStreamContext, spec: StreamSpec, replicas: int, first: int | None) -> None:
    config = stream_config(spec, replicas)
    try:
        await js.stream_info(spec.name)
    except NotFoundError:
        with _unless_in_use():
            await js.add_stream(config.evolve(first_seq=first))
            return
    await js.update_stream(config)


async def _bucket(js: JetStreamContext, spec: BucketSpec, replicas: int) -> None:
    """Create a bucket, or update the age limit and the number of replicas of an existing one."""
    ttl = spec.ttl.total_seconds()
    try:
        config = (await js.stream_info(f"KV_{spec.name}")).config
    except NotFoundError:
        with _unless_in_use():
            await js.create_key_value(KeyValueConfig(bucket=spec.name, history=1, ttl=ttl or None, replicas=replicas))
            return
        config = (await js.stream_info(f"KV_{spec.name}")).config
    if (config.max_age or 0, config.num_replicas, bool(config.allow_msg_ttl)) != (ttl, replicas, True):
        window = min(BUCKET_WINDOW.total_seconds(), ttl or math.inf)  # must not exceed the age limit
        changed = config.evolve(max_age=ttl, num_replicas=replicas, duplicate_window=window, allow_msg_ttl=True)
        await js.update_stream(changed)


@contextlib.contextmanager
def _unless_in_use() -> Iterator[None]:
    """Ignore that another run has created the stream since the check, with another first sequence, say."""
    try:
        yield
    except BadRequestError as error:
        if error.err_code != NAME_IN_USE:
            raise


async def provision_url(url: str, replicas: int) -> None:
    """Connect to `url`, one node or several, within 30 s, and provision.

    A cluster that has just started lacks a leader or some nodes for a few seconds: provisioning retries for 30 s, too.
    """
    nodes = parse_nodes(url)
    connection = await nats.connect(
        **nodes.options(), max_reconnect_attempts=60, reconnect_time_wait=0.5, inbox_prefix=inbox_prefix(USER)
    )
    until = time.monotonic() + (CLUSTER.total_seconds() if nodes.several or replicas > 1 else 0)
    try:
        while True:
            try:
                return await provision(connection.jetstream(timeout=ANSWER.total_seconds()), replicas)
            except (NatsError, TimeoutError) as error:
                alone = isinstance(error, APIError) and error.err_code == NO_CLUSTER
                if alone or time.monotonic() > until:
                    raise
                log.info("provision.waiting", error=str(error) or type(error).__name__)
            await asyncio.sleep(PAUSE.total_seconds())
    finally:
        await connection.close()


def ensure_bucket(settings: Settings) -> None:
    """Create the store's bucket when it is missing. Failures show in the log and in each service's readiness."""
    try:
        if bucket := make_bucket(settings):
            log.info("provision.bucket.made", bucket=bucket)
    except ReelayError as error:
        log.error("provision.bucket.failed", store=settings.store, error=str(error))


def main() -> int:
    """Provision the broker and the store's bucket by the settings; return 0 when the broker is provisioned."""
    settings = Settings()
    configure_logging("provision", json=settings.log_json, level=settings.log_level)
    try:
        asyncio.run(provision_url(settings.broker_url, settings.nats_replicas))
    except (NatsError, OSError, TimeoutError) as error:
        log.error("provision.failed", error=str(error) or type(error).__name__)
        return 1
    ensure_bucket(settings)
    log.info("provision.done", streams=len(STREAMS), consumers=len(CONSUMERS), buckets=len(BUCKETS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
