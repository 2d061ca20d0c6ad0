"""What each service's image installs is all that its modules import, and what waits until it is needed."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/app.py"))

IMPORT_ALL = """
import importlib, json, pkgutil, sys
name, refused = sys.argv[1], set(json.loads(sys.argv[2]))

class Refusing:
    def find_spec(self, module, path=None, target=None):
        if module.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)

sys.meta_path.insert(0, Refusing())
importlib.import_module(f"services.{name}.app")
print(*sys.modules)
package = importlib.import_module(f"services.{name}")
for found in pkgutil.walk_packages(package.__path__, f"services.{name}."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""


def needed_by(name: str, extras: frozenset[str]) -> list[str]:
    """Give what a distribution asks for; of this project, as it stands in the checkout."""
    if name != PROJECT["name"]:
        return distribution(name).requires or []
    return [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]


def installed(wanted: list[str]) -> set[str]:
    """Give the distributions that pip installs for requirements, with those that they need."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        one = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in found:
            continue
        found.add((name, extras))
        needed = map(Requirement, needed_by(name, extras))
        waiting += [
            other for other in needed
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]  # fmt: skip
    return {name for name, _ in found}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_nothing_that_its_image_lacks_and_starts_with_what_it_needs(service: str) -> None:
    extra = service.replace("_", "-")
    there = installed([f"{PROJECT['name']}[{extra}]"])
    lacking = [
        module for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & there
    ]  # fmt: skip
    tried = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, service, json.dumps(lacking)], capture_output=True, text=True, cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr[-1500:]
    late = {"boto3"} | ({"numpy"} if service == "gateway" else set())  # each costs every start and every instance
    assert not late & set(tried.stdout.split())
