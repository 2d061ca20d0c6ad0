"""The house rules that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

from services.notifier.forms import FORMS as REGISTERED
from shared.broker.streams import BUCKETS, CONSUMERS, STREAMS
from shared.broker.subjects import CHANNELS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for top in ("shared", "services") for p in (ROOT / top).rglob("*.py"))
LONGEST_FILE = 350
LONGEST_FUNCTION = 60
LONGEST_HANDLER = 20
# Rule 4 does not bind the tables themselves, nor the file that each message's channel is written in.
TABLES = {ROOT / "shared/broker/subjects.py", ROOT / "shared/broker/streams.py"}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def service_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "services" and len(parts) > 1 else None


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_services_never_import_each_other_and_shared_never_imports_services(path: Path) -> None:
    own = path.relative_to(ROOT).parts
    foreign = {m for m in imports(path) if service_of(m) and (own[0] == "shared" or service_of(m) != own[1])}
    assert not foreign or own[1] == "cli", foreign  # the command line starts services and hands over to them


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno
            assert length <= LONGEST_FUNCTION, f"{node.name}: {length} lines"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "handlers.py"], ids=ids)
def test_handlers_are_at_most_twenty_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1
            assert length <= LONGEST_HANDLER, f"{node.name}: {length} lines"


@pytest.mark.parametrize("path", [p for p in SOURCES if p not in TABLES], ids=ids)
def test_names_of_streams_durables_and_buckets_stand_in_the_tables_only(path: Path) -> None:
    streams = {s.name for s in STREAMS}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in streams, f"line {node.lineno}: {node.value}"


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and letting the exception go on catches nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_exception_is_caught_in_the_middleware_only(path: Path) -> None:
    if path == ROOT / "shared/broker/middleware.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler) and not _raises_again(node):
            names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"everything"}
            assert not names & {"Exception", "BaseException", "everything"}, f"line {node.lineno}"


@pytest.mark.parametrize("path", [p for p in SOURCES if "handlers" in p.name or p.name == "app.py"], ids=ids)
def test_app_alone_reads_settings(path: Path) -> None:
    if path.name == "app.py":
        return
    assert "shared.runtime.settings" not in imports(path)


def test_every_consumer_and_channel_has_an_owner_that_exists() -> None:
    services = {p.parent.name.replace("_", "-") for p in (ROOT / "services").glob("*/app.py")}
    assert {c.service for c in CONSUMERS} <= services
    assert {p for c in CHANNELS for p in c.publishers} <= services
    assert {b.owner for b in BUCKETS} <= services


def test_no_download_address_or_path_of_a_machine_is_committed() -> None:
    words = re.compile(r"(?:py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js|deb\.debian" r"\.org)")
    for path in [*ROOT.glob("*.*"), *SOURCES, *(ROOT / "scripts").rglob("*"), *(ROOT / "compose").rglob("*")]:
        if path.is_file() and path.suffix in {".py", ".toml", ".lock", ".md", ".yaml", ".sh", ""}:
            assert not words.search(path.read_text()), path


GATEWAY = ROOT / "services/gateway"
# What the rooms of the gateway may not reach for: what is meant knows nothing of how it is asked for.
ROOMS = {
    "domain": ("http", "identity", "native", "facades", "delivery", "app", "web"),
    "identity": ("native", "facades", "delivery", "app", "web"),
    "http": ("native", "facades", "delivery", "app", "web"),
    "delivery": ("native", "facades", "app", "web"),
    "native": ("facades", "app", "web"),
    "facades": ("native", "app", "web"),
}


@pytest.mark.parametrize("path", sorted(GATEWAY.rglob("*.py")), ids=ids)
def test_rooms_of_the_gateway_keep_to_themselves(path: Path) -> None:
    room, *rest = path.relative_to(GATEWAY).parts
    found = imports(path)
    foreign = [f"services.gateway.{other}" for other in ROOMS.get(room, ())]
    foreign += ["fastapi", "starlette"] if room == "domain" else []
    assert not {m for m in found if any(m == other or m.startswith(f"{other}.") for other in foreign)}
    assert "shared.runtime.settings.Settings" not in found or room in {"identity", "app.py"}
    if room == "facades" and len(rest) > 1:
        others = {m.split(".")[3] for m in found if m.startswith("services.gateway.facades.")}
        assert others <= {rest[0], "facade"}, "a vendor's facade knows no other's"


def test_only_what_joins_the_rest_lies_at_the_root_of_the_gateway() -> None:
    found = {path.name for path in GATEWAY.glob("*.py")}
    assert found == {"__init__.py", "__main__.py", "app.py", "handlers.py", "web.py"}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "buckets.py"], ids=ids)
def test_a_bucket_is_named_in_its_table_only(path: Path) -> None:
    named, takers = {b.name for b in BUCKETS}, {"Bucket", "Mirror", "Tally", "Catalogue", "super().__init__", "partial"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in takers:
            literals = {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
            assert not literals & named, f"line {node.lineno}"


FORMS = ROOT / "services/notifier/forms"
# What is nobody's in particular knows no vendor: a new one is a facade, a form, or a destination to add.
VENDORS = {p.name for p in (GATEWAY / "facades").iterdir() if p.is_dir() and p.name != "__pycache__"}
VENDORS |= {p.stem for p in FORMS.glob("*.py")} - {"__init__", "form", "standard"}
VENDORS |= {"cdnetworks", "brightcove", "kaltura", "imagen", "flussonic", "videocloud"}
NEUTRAL = [
    path
    for top in ("services/restreamer", "services/notifier", "shared/messages")
    for path in sorted((ROOT / top).rglob("*.py"))
    if path.parent != FORMS or path.stem not in VENDORS
]


@pytest.mark.parametrize("path", NEUTRAL, ids=ids)
def test_a_vendor_s_words_stay_at_the_door(path: Path) -> None:
    said = set(re.findall(r"[a-z]+", path.read_text().lower().replace("_", "")))
    assert not said & VENDORS


def test_a_form_is_one_file_that_is_found_by_its_name() -> None:
    found = {p.stem for p in FORMS.glob("*.py")} - {"__init__", "form"}
    assert set(REGISTERED) == found
    for name, form in REGISTERED.items():
        assert type(form).__module__ == f"services.notifier.forms.{name}"
        assert isinstance(form.brief, bool)
        assert all(callable(getattr(form, verb)) for verb in ("applies", "body", "accepted"))
        others = {m.split(".")[3] for m in imports(FORMS / f"{name}.py") if m.startswith("services.notifier.forms.")}
        assert others <= {"form"}, "a form knows no other"
