"""`reelay up` with small stand-ins for the services: `python -m tests.support.small_stack FOLDER NAME[:MANNER]...`.

Settings come from REELAY_ variables, as for the real command.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from services.cli.stack import Output
from services.cli.supervisor import Program
from services.cli.up import run_stack
from shared.runtime.settings import Settings

SMALL = str(Path(__file__).with_name("small_service.py"))


def small_program(word: str, folder: Path, environment: Mapping[str, str]) -> Program:
    name, *manners = word.split(":")
    return Program(name, (sys.executable, "-I", "-S", SMALL, name, str(folder), *manners), environment)


def main(folder: str, *words: str) -> int:
    def programs(environment: Mapping[str, str]) -> list[Program]:
        return [small_program(word, Path(folder), environment) for word in words]

    return asyncio.run(run_stack(Settings(), Output(sys.stdout.fileno()), programs))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
