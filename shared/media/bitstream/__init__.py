"""Reading and rewriting H.264 and HEVC headers, so that streams of two encoders can share one track.

`nal` splits and joins NAL units and tells how a picture can be entered; `h264_sps` and `hevc_sets` give an
encoder's parameter sets the ids, limits and colour of the stream that they join; `records` holds both in one
sample entry.
"""
