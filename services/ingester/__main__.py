"""`python -m services.ingester`."""

from services.ingester.app import build
from shared.service import main

main("ingester", build)
