"""Flussonic's streamer API (`/streamer/api/v3`) and its archive URLs, on live jobs and their recordings."""
