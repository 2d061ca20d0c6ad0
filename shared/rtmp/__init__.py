"""RTMP for server and client: handshake, chunk streams, AMF, commands."""
