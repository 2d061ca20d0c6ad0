"""The modules of scripts/, which is no package, and a fake machine for them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import setup_clients  # noqa: E402  the path comes first
import setup_env  # noqa: E402
import setup_host  # noqa: E402
import setup_peers  # noqa: E402
import setup_servers  # noqa: E402

__all__ = ["SCRIPTS", "FakeHost", "setup_clients", "setup_env", "setup_host", "setup_peers", "setup_servers"]


class FakeHost(setup_host.Host):
    """A machine on which each command does what `answers` has for the longest of its keys found in the command.

    True and False: the command succeeds or fails. A text: it succeeds and prints this. A callable decides.
    """

    def __init__(self, answers: Mapping[str, object], *, programs: Sequence[str] = (), root: bool = False) -> None:
        self.answers, self.programs, self.root = dict(answers), set(programs), root
        self.commands: list[str] = []
        self.wheels: dict[Path, list[Path]] = {}
        self.libraries: set[str] = set()

    def _answer(self, command: Sequence[object]) -> object:
        text = " ".join(str(word) for word in command)
        self.commands.append(text)
        matches = [key for key in self.answers if key in text]
        answer = self.answers[max(matches, key=len)] if matches else False
        return answer() if callable(answer) else answer

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> bool:
        return self._answer(command) is not False

    def output(self, *command: str | Path) -> str | None:
        answer = self._answer(command)
        return None if answer is False else answer if isinstance(answer, str) else ""

    def has(self, program: str) -> bool:
        return program in self.programs

    def exists(self, path: Path) -> bool:
        return True

    def is_root(self) -> bool:
        return self.root

    def pip_wheels(self, folder: Path = setup_host.PYTHON_WHEELS) -> list[Path]:
        return self.wheels.get(folder, [])

    def loads(self, names: Sequence[str]) -> bool:
        return bool(self.libraries & set(names))

    def did(self, part: str) -> bool:
        return any(part in command for command in self.commands)
