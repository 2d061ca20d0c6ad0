"""`python -m services.ingester`."""

from services.ingester.app import build
from shared.runtime.service import main

main("ingester", build)
