"""The forms of messages: one file each; subscriptions name a form by its file's name (ADR 25)."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from services.notifier.forms.form import Context, Form, Opened, Words

__all__ = ["FORMS", "STANDARD", "Context", "Form", "Opened", "Words"]

STANDARD: Final = "standard"
FORMS: Final[dict[str, Form]] = {
    found.name: import_module(f"{__name__}.{found.name}").FORM
    for found in iter_modules(__path__)
    if found.name != "form"
}
