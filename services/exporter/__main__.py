"""`python -m services.exporter`."""

from services.exporter.app import build
from shared.runtime.service import main

main("exporter", build)
