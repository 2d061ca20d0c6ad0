"""`python -m services.proxy_encoder`."""

from services.proxy_encoder.app import build
from shared.runtime.service import main

main("proxy-encoder", build)
