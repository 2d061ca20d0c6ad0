"""The recorder: one blocking loop that turns a publication's frames into fMP4 segments on disk.

`loop.record` is the whole of it; `recover.recover` salvages what a killed recorder left. What publications read frames
out of elementary streams and MPEG-TS with lies here too, without FFmpeg: parameters and time stamps come as they were
sent, nothing is probed, a track may appear at any time. Nothing here knows the broker.
"""
