"""docs/events.md against the registry of channels and the golden examples."""

import json
import re
from pathlib import Path

from shared.broker.subjects import CHANNELS

ROOT = Path(__file__).resolve().parents[2]
EVENTS = (ROOT / "docs/events.md").read_text()
SECTIONS = dict(re.findall(r"^### `([\w.]+)`$(.*?)(?=^##|\Z)", EVENTS, re.MULTILINE | re.DOTALL))


def test_every_event_has_a_section_with_its_golden_example() -> None:
    events = {channel.name: channel for channel in CHANNELS if channel.kind == "event"}
    assert set(SECTIONS) == set(events)
    for name, channel in events.items():
        shown = re.search(r"```json\n(.*?)```", SECTIONS[name], re.DOTALL)
        assert shown, name
        golden = json.loads((ROOT / f"contracts/examples/{channel.model.__name__}.json").read_text())
        assert json.loads(shown[1]) == golden, name


def test_every_channel_is_named() -> None:
    for channel in CHANNELS:
        assert f"`{channel.name}`" in EVENTS
        assert all(publisher in EVENTS for publisher in channel.publishers)
