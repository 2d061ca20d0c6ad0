"""Reading and rewriting H.264 and HEVC headers, so that streams of two encoders can share one track.

`nal` splits and joins NAL units and classifies entries; `h264_sps` and `hevc_sets` rewrite an encoder's parameter sets
with the ids, limits and colour of the stream that they join; `records` puts both streams' sets in one sample entry.
"""
