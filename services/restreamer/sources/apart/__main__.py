"""The zygote's process; its socket's descriptor is its argument."""

import socket
import sys

from services.restreamer.sources.apart.zygote import main

main(socket.socket(fileno=int(sys.argv[1])))
