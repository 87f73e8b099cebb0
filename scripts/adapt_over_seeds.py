#!/usr/bin/env python
"""Measure `facewire-train adapt` over seeds: scripts/adapt_over_seeds.py PEOPLE OUT --others DIR.

Every seed divides the people of PEOPLE/NAME/*.jpg anew. The network of each is measured on its own
people left out, as `adapt` does, and on those of OTHERS/NAME/*.jpg who are not in PEOPLE, with the
same degradations: they are of no seed, so that all seeds are seen on the same photos. A network
that was refused is measured too. Prints a line for each seed, place, kind and rate, then the means;
a seed takes some minutes.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from recognizer import open_recognizer
from trainer.adapt.adapting import Adapted, Request, adapt, embedder, open_base
from trainer.adapt.measuring import Change, Pairs, changes, compare_all, degraded_copies
from trainer.adapt.people import Crops, read_people
from trainer.adapt.tuning import Tuning

FARS = (1e-2, 1e-3)


def main() -> None:
    """Adapt with every seed and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("people", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--others", required=True, type=Path)
    parser.add_argument("--base", default="sface")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    wanted = parser.parse_args()
    opener = partial(open_recognizer, device=wanted.device, threads=wanted.threads)
    names = {path.name for path in wanted.people.iterdir()}
    crops, _ = read_people([wanted.others], opener, consented=None)
    others = crops.of(set(crops.names) - names)
    gains: dict[tuple[str, str, float], list[Change]] = defaultdict(list)
    for seed in range(wanted.first, wanted.first + wanted.seeds):
        request = Request(
            sources=[wanted.people],
            to=wanted.out / f"{seed}.onnx",
            report=wanted.out / f"{seed}.report.json",
            base=wanted.base,
            tuning=Tuning(seed=seed),
            resamples=wanted.resamples,
            device=wanted.device,
            threads=wanted.threads,
        )
        adapted = adapt(request, opener, shown=unshown)
        seconds, blend = adapted.facts["seconds"], adapted.facts["blend"]
        print(f"seed {seed}: blend {blend}, {seconds:.0f} s; {adapted.refusal or 'written'}")
        found = {"left out": adapted.changes, "others": on_others(request, adapted, others)}
        for place, rows in found.items():
            for each in rows:
                gains[place, each.kind, each.far].append(each)
                print(f"seed {seed}, {place}: {line(each)}", flush=True)
    for (place, kind, far), rows in gains.items():
        before = statistics.mean(each.before for each in rows)
        after = statistics.mean(each.after for each in rows)
        changed = [each.gain for each in rows]
        print(
            f"{place}, {kind} at FAR {far:g}: {before:.4f} to {after:.4f}, "
            f"{after - before:+.4f}; seeds {min(changed):+.4f} to {max(changed):+.4f}"
        )


def on_others(request: Request, adapted: Adapted, others: Crops) -> list[Change]:
    """Measure base and network on people of no seed."""
    base = open_base(request.base)
    pairs = Pairs(others.people)
    copies = degraded_copies(others, seed=0)
    before, after = (
        compare_all(pairs, embedder(request, model, base.card), copies)
        for model in (base.model, adapted.model)
    )
    return changes(
        before, after, FARS, n_people=pairs.n_people, resamples=request.resamples, seed=0
    )


def line(each: Change) -> str:
    """Return a change as text."""
    return (
        f"{each.kind} at FAR {each.far:g}: {each.before:.4f} to {each.after:.4f}, "
        f"{each.gain:+.4f} ({each.low:+.4f} to {each.high:+.4f})"
    )


@contextmanager
def unshown(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show no progress bar."""
    yield lambda done, total: None


if __name__ == "__main__":
    main()
