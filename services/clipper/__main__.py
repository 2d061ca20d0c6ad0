"""`python -m services.clipper`."""

from services.clipper.app import build
from shared.runtime.service import main

main("clipper", build)
