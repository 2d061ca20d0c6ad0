"""A vendor's words end at its facade and its form: a new vendor is a folder and a file to add."""

from __future__ import annotations

import re

from services.notifier.forms import FORMS
from tests.support.source_tree import ROOT, imports, name, sources

FOLDER = ROOT / "services/notifier/forms"
VENDORS = {path.name for path in (ROOT / "services/gateway/facades").iterdir() if (path / "routes.py").exists()}
VENDORS |= {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "form", "standard"}
VENDORS |= {"cdnetworks", "brightcove", "kaltura", "imagen", "flussonic", "videocloud"}
NEUTRAL = ("services/restreamer", "services/notifier", "shared/messages")


def test_what_is_nobody_s_in_particular_knows_no_vendor() -> None:
    found = []
    for path in sources(*NEUTRAL):
        said = set(re.findall(r"[a-z]+", path.read_text().lower().replace("_", ""))) & VENDORS
        if said and not (path.parent == FOLDER and said == {path.stem}):
            found.append(f"{name(path)}: {said}")
    assert not found


def test_a_form_is_one_file_that_is_found_by_its_name() -> None:
    assert set(FORMS) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "form"}
    for form in FORMS:
        made = FORMS[form]
        assert type(made).__module__ == f"services.notifier.forms.{form}"
        assert isinstance(made.brief, bool)
        assert all(callable(getattr(made, verb)) for verb in ("applies", "body", "accepted"))
        seen = imports(FOLDER / f"{form}.py")
        others = {m.split(".")[3] for m in seen if m.startswith("services.notifier.forms.")}
        assert others <= {"form"}, "a form knows no other"
