"""The proxy-encoder: a 1 Mbps proxy of each segment, re-encodes and thumbnails. It takes no work yet."""
