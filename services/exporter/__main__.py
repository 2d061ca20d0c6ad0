"""`python -m services.exporter`."""

from services.exporter.app import build
from shared.service import main

main("exporter", build)
