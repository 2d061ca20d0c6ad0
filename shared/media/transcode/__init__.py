"""Decoding, filtering and encoding pictures and sound, for playout, proxies and clips."""
