"""The recorder: one blocking loop that turns an encoder's FLV or MPEG-TS bytes into fMP4 segments on disk.

`loop.record` is the whole of it; `recover.recover` salvages what a killed recorder left. The containers are read
here, without FFmpeg: sequence headers and time stamps come as they were sent, nothing is probed, a track may appear
at any time, and it costs less (FLV) or the same (MPEG-TS). Nothing here knows the broker.
"""
