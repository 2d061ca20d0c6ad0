"""The parts of the supervisor that only decide: pauses, lines, looks."""

import json
import os
import threading
from datetime import timedelta

import pytest

from services.cli.backoff import RestartDelay
from services.cli.lines import LONGEST_BACKLOG, LONGEST_LINE, LineSplitter, LineStyle, LineWriter
from services.cli.ports import Port, faults

SECOND = timedelta(seconds=1)


def test_pauses_double_from_one_second_to_thirty() -> None:
    delay = RestartDelay()
    pauses = [delay.after(SECOND).total_seconds() for _ in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_health_starts_the_pauses_over() -> None:
    delay = RestartDelay()
    for _ in range(5):
        delay.after(SECOND)
    assert delay.after(timedelta(seconds=60)) == SECOND
    assert delay.after(timedelta(seconds=59)) == 2 * SECOND


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_come_out_the_same_however_they_are_cut(size: int) -> None:
    text = b"one\n\ntwo and more\r\nthree"
    splitter = LineSplitter()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    assert [*lines, *splitter.flush()] == [b"one", b"", b"two and more\r", b"three"]
    assert list(splitter.flush()) == []


def test_an_endless_line_is_cut_and_not_kept_in_memory() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(10) for line in splitter.feed(b"x" * LONGEST_LINE)]
    assert len(lines) == 9
    assert {len(line) for line in lines} == {LONGEST_LINE}
    assert [len(line) for line in splitter.feed(b"y\nz\n")] == [LONGEST_LINE, 1, 1]


def test_plain_lines_carry_a_padded_name() -> None:
    style = LineStyle(["nats", "gateway"], colour=False, json_lines=False)
    assert style.dress("nats", b"hello") == b"nats    | hello\n"
    assert style.dress("unknown", b"hello") == b"unknown | hello\n"


def test_a_line_cannot_steer_the_terminal() -> None:
    dressed = LineStyle(["nats"], colour=False, json_lines=False).dress(
        "nats", b"\x1b]0;title\x07a\tb\r\x1b[2J\xc3\xa9"
    )
    assert dressed == b"nats | ]0;titlea\tb[2J\xc3\xa9\n"


def test_colour_is_on_the_name_only_and_differs_between_neighbours() -> None:
    style = LineStyle(["a", "b"], colour=True, json_lines=False)
    first, second = style.dress("a", b"x"), style.dress("b", b"x")
    assert first.endswith(b"\x1b[0m | x\n")
    assert first.split(b"a")[0] != second.split(b"b")[0]


def test_json_lines_pass_as_they_are_and_others_are_wrapped() -> None:
    style = LineStyle(["nats"], colour=True, json_lines=True)
    assert style.dress("nats", b'{"event":"x"}') == b'{"event":"x"}\n'
    wrapped = json.loads(style.dress("nats", b'[WRN] "odd" \xff'))
    assert wrapped == {"service": "nats", "event": "process.output", "line": '[WRN] "odd" \ufffd'}


def test_a_stuck_output_never_holds_up_the_writer_and_the_loss_is_told() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, LineStyle(["a"], colour=False, json_lines=False))
    line = b"x" * 1000  # a pipe holds about 65 of these
    for _ in range(LONGEST_BACKLOG + 500):
        writer.line("a", line)
    received = bytearray()

    def drain() -> None:
        while data := os.read(reading, 1 << 20):
            received.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    while b"lines were dropped" not in received:
        writer.line("a", b"after")
    writer.close(timedelta(seconds=10))
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert received.endswith(b"a | after\n")


def test_a_closed_pipe_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing, LineStyle([], colour=False, json_lines=False))
    for _ in range(10):
        writer.line("a", b"nobody reads this")
    writer.close(timedelta(seconds=10))
    os.close(writing)


def test_two_settings_with_one_port_are_refused() -> None:
    same = [Port("REELAY_HTTP_PORT", "TCP", "127.0.0.1", 1), Port("REELAY_RTMP_PORT", "TCP", "127.0.0.1", 1)]
    assert faults(same)[-1] == "REELAY_RTMP_PORT and REELAY_HTTP_PORT are both 1: they need different ports"
