"""The ingester: RTMP and SRT in, segments out."""
