"""`python -m services.scheduler`."""

from services.scheduler.app import build
from shared.service import main

main("scheduler", build)
