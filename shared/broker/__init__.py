"""What speaks to NATS: subjects, streams, records, turns."""
