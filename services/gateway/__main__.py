"""`python -m services.gateway`."""

import uvloop

from services.gateway.app import build
from shared.runtime.service import main

main("gateway", build, uvloop.new_event_loop)
