"""`python -m services.archiver`."""

from services.archiver.app import build
from shared.runtime.service import main

main("archiver", build)
