"""The scheduler's composition root."""

from __future__ import annotations

from datetime import timedelta

from services.scheduler.due import DueWork
from services.scheduler.handlers import Handlers
from services.scheduler.keeper import Keeper
from services.scheduler.sweep import HOURLY, Sweep
from shared.broker import buckets, durables
from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.messages.schedules import EventTimers
from shared.runtime.service import Service


def build(service: Service, sweep_every: timedelta = HOURLY) -> None:
    """Connect timers, sweep and handlers."""
    timers = Bucket(service.js, buckets.SCHEDULES, EventTimers)
    keeper = Keeper(timers, Bucket(service.js, buckets.JOBS, JobRecord), service.outbox)
    sweep = Sweep(service.outbox, service.js, service.clock, sweep_every)
    handlers = Handlers(keeper, DueWork(service.outbox, sweep, service.js, keeper))
    service.beside(sweep.begun)
    service.handle(durables.SCHEDULER_STARTED, handlers.started)
    service.handle(durables.SCHEDULER_ENDED, handlers.ended)
    service.handle(durables.SCHEDULER_JOBS, handlers.job)
    service.handle(durables.SCHEDULER_DUE, handlers.due)
