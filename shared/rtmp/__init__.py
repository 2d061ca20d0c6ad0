"""RTMP as both of its sides need it: handshake, chunk streams, AMF, commands."""
