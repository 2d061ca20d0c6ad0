"""SRT through the system's libsrt: sockets, addresses, stream ids, statistics; the calling side."""
