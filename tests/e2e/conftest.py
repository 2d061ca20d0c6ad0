"""The stack, and a programme whose frames carry their number, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support import framecode_record
from tests.support.stack import StackUnderTest, stack

SPEC = framecode_record.Spec(rate=Fraction(30), gop=60, bframes=2, seconds=Fraction(34))


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    """A running stack: its start costs 30 s of CPU, so a worker has one for all files that need no special one."""
    with stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def programme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """34 s of numbered frames at 30 fps with a beep each second: H.264 with B-frames, a key frame every 2 s, AAC."""
    file = tmp_path_factory.mktemp("programme") / "programme.mp4"
    framecode_record.encode(SPEC, file)
    return file
