"""`python -m services.scheduler`."""

from services.scheduler.app import build
from shared.runtime.service import main

main("scheduler", build)
