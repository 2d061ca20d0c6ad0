"""`python -m services.clipper`."""

from services.clipper.app import build
from shared.service import main

main("clipper", build)
