"""A vendor's words stay at its facade, its form and its destination: a new vendor is a file or a folder to add."""

from __future__ import annotations

import re

from services.notifier.forms import FORMS as REGISTERED
from tests.support.source_tree import ROOT, imports, name, sources

FACADES = ROOT / "services/gateway/facades"
FORMS = ROOT / "services/notifier/forms"
VENDORS = {p.name for p in FACADES.iterdir() if p.is_dir() and p.name != "__pycache__"}
VENDORS |= {p.stem for p in FORMS.glob("*.py")} - {"__init__", "form", "standard"}
# The type of a destination and the dialect of a key, as data names them.
TYPES = {
    "shared/messages/keys.py": {"brightcove"},
    "shared/messages/credentials.py": {"videocloud"},
    "shared/messages/destinations.py": {"videocloud"},
}
VENDORS |= {"cdnetworks", "brightcove", "kaltura", "imagen", "flussonic", "videocloud"}


def test_what_is_nobodys_in_particular_knows_no_vendor() -> None:
    found = []
    for path in sources("services/restreamer", "services/notifier", "shared/messages"):
        if path.parent != FORMS or path.stem not in VENDORS:
            said = set(re.findall(r"[a-z]+", path.read_text().lower().replace("_", "")))
            found += [f"{name(path)}: {vendor}" for vendor in sorted((said & VENDORS) - TYPES.get(name(path), set()))]
    assert not found


def test_a_form_is_one_file_that_is_found_by_its_name() -> None:
    found = {p.stem for p in FORMS.glob("*.py")} - {"__init__", "form"}
    assert set(REGISTERED) == found
    for form_name, form in REGISTERED.items():
        assert type(form).__module__ == f"services.notifier.forms.{form_name}"
        assert isinstance(form.brief, bool)
        assert isinstance(form.one_lane, bool)
        assert all(callable(getattr(form, verb)) for verb in ("applies", "body", "accepted"))
        imported = imports(FORMS / f"{form_name}.py")
        others = {m.split(".")[3] for m in imported if m.startswith("services.notifier.forms.")}
        assert others <= {"form"}, "a form knows no other"
