"""Decoding, filtering and encoding pictures and sound: what playout, proxies and clips need of it."""
