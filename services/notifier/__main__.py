"""`python -m services.notifier`."""

from services.notifier.app import build
from shared.runtime.service import main

main("notifier", build)
