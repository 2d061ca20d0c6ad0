"""Damages real streams and every parsed piece of them, to find errors that a parser may not raise.

    python -m tests.bench.fuzz_ingest [mutations] [seed]

Of the mutations (100,000) four fifths go to single parsers, the rest to whole streams: demuxed, and every tenth one
recorded. Prints a table, and each kind of failure once, with the seed that reproduces it.
"""

from __future__ import annotations

import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from tests.support.publishers_bytes import demuxed, parsers, recorded, streams
from tests.support.spoil import STREAMS, some

Use = Callable[[str, bytes, random.Random], int]
SILENT = structlog.make_filtering_bound_logger(50)


def attempt(what: str, run: Callable[[], object], allowed: tuple[type[Exception], ...], failed: Counter[str]) -> bool:
    """Run once; record an error that is not allowed."""
    try:
        run()
    except Exception as error:  # noqa: BLE001  any error is a finding
        if isinstance(error, allowed):
            return True
        where = "".join(traceback.format_tb(error.__traceback__)[-2:])
        kind = f"{type(error).__name__}: {str(error)[:80]}\n{where}"
        if not failed[kind]:
            print(f"FAILED {what}: {kind}", flush=True)
        failed[kind] += 1
    return False


def tried(counts: Counter[str], use: Use, name: str, data: bytes, dice: random.Random) -> None:
    """Use a damaged stream, and count the results."""
    counts[name] += use(name, data, dice)


def main() -> None:
    """Run the program of the module's docstring."""
    structlog.configure(wrapper_class=SILENT)
    mutations = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = sys.argv[2] if len(sys.argv) > 2 else "1"
    failed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        made = streams(Path(folder))
    table = parsers(made)
    each = mutations * 4 // 5 // len(table)
    for parser in table:
        refused = 0
        for number in range(each):
            dice = random.Random(f"{seed} {parser.name} {number}")
            data = some(dice.choice(parser.inputs), dice)
            refused += attempt(f"{parser.name} {seed} {number}", partial(parser.parse, data), parser.allowed, failed)
        print(f"{parser.name:20} {each:7} mutations, {refused:7} refused", flush=True)
    rounds = mutations // 5 // (len(made) * len(STREAMS))
    for name, whole in made.items():
        for spoil in STREAMS:
            made_of: Counter[str] = Counter()
            for number in range(rounds):
                dice = random.Random(f"{seed} {name} {spoil.__name__} {number}")
                data, use = spoil(whole, dice), recorded if number % 10 == 0 else demuxed

                run = partial(tried, made_of, use, name, data, dice)
                attempt(f"{name} {spoil.__name__} {seed} {number}", run, (), failed)
            print(
                f"{name:28} {spoil.__name__:10} {rounds:6} mutations, {made_of[name]:8} frames or segments", flush=True
            )
    print(f"{sum(failed.values())} failures of {len(failed)} kinds")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
