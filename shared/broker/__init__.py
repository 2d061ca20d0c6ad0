"""The NATS side of every service: subjects, streams, buckets, handlers, turns of accounts."""
