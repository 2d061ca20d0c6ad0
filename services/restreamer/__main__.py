"""`python -m services.restreamer`."""

from services.restreamer.app import build
from shared.runtime.service import main

main("restreamer", build)
