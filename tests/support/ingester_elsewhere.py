"""An ingester that believes it is on another machine: `python -m tests.support.ingester_elsewhere`."""

from services.ingester.app import build
from shared.runtime import lease
from shared.runtime.service import main

if __name__ == "__main__":
    lease.machine = lambda: "another machine"
    main("ingester", build)
