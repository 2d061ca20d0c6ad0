"""The zygote's process; its argument is the descriptor of its socket."""

import socket
import sys

from services.restreamer.sources.apart.zygote import main

main(socket.socket(fileno=int(sys.argv[1])))
