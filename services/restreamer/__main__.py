"""`python -m services.restreamer`."""

from services.restreamer.app import build
from shared.service import main

main("restreamer", build)
