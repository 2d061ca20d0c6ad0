"""`python -m services.gateway`."""

from services.gateway.app import build
from shared.service import main

main("gateway", build)
