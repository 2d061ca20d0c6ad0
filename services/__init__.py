"""Reelay's services: independent processes that meet only on NATS JetStream."""

import shared  # noqa: F401  before anything else is imported: it says what is not needed
