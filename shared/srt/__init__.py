"""SRT through the system's libsrt: sockets, addresses, statistics, and the caller."""
