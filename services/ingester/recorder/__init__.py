"""The recorder: one blocking loop that turns a publication's frames into fMP4 segments on disk.

`loop.record` is the entry point; `recover.recover` salvages what a killed recorder left. The parsers that read frames
from elementary streams and MPEG-TS are here too. They do not use FFmpeg: parameters and time stamps are kept as sent,
nothing is probed, and a track may appear at any time. Nothing here knows the broker.
"""
