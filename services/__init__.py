"""Reelay's services: independent processes that meet only on NATS JetStream."""
