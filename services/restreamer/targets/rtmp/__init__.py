"""RTMP and RTMPS targets."""
