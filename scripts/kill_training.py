"""Kill training runs at random moments, resume them, and compare: scripts/kill_training.py [OUT].

A run of two processes with a sharded head, which writes a checkpoint at every step, is killed by
SIGKILL: all its processes (as by a power cut or `docker kill`), one rank (as by the kernel when
memory is short), or torchrun alone. What is left must end in time by itself. Then the run is
resumed, and must end with the checkpoints and logs of a run that nobody killed, bit for bit, or be
refused in one line. Before the first checkpoint there is nothing to resume: then it starts anew.

Needs Linux and torch, no data: the set is of synthetic textures. Takes about half a minute for each
kill. Exits 1 if a run was neither equal nor refused in one line, or if a process went on.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.data.faceset import FaceSetWriter, encode
from trainer.data.pairs import PairSet, write_bin
from trainer.training.checkpoint import read_checkpoint

STEPS = 8
RANKS = 2
KINDS = ("all", "rank 0", "rank 1", "torchrun")
POLL_S = 0.002
END_S = 300.0  # torchrun gives its ranks 30 s to end, and the machine may be busy
START_S = 300.0
SHARDED = ("head.sharded=true", "head.rate=0.7")
SETTINGS = (
    *("backbone.size=16", "run.batch=6", "run.precision=f32", f"run.steps={STEPS}"),
    *('run.targets=["pairs"]', "run.verbose=1", "run.frequent=1", "run.ckpt=always"),
)


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill and what came of it.

    Attributes:
        number: counts from 1.
        killed: "all", "rank 0", "rank 1" or "torchrun".
        after_step: steps in the log at the moment.
        delay_ms: time from that line of the log to the kill.
        resumed_from: step of last.pt then; -1 where there was none.
        parts: partial files that the kill left.
        outcome: "equal", "refused" (then a new run was equal) or "differs".
        detail: the line of a refusal, or what differs.
        failed_once: the end of what a resumed run printed that failed without a line of the
            trainer's, such as torchrun's own errors on a busy machine; it was resumed once more.
    """

    number: int
    killed: str
    after_step: int
    delay_ms: int
    resumed_from: int
    parts: int
    outcome: str
    detail: str
    failed_once: str


class Training:
    """A directory of a run, its processes, and the time that it takes.

    Args:
        data: the set.
        out: of the run.
        settings: of the recipe.
    """

    def __init__(self, data: Path, out: Path, settings: tuple[str, ...]) -> None:
        self.data, self.out, self.settings = data, out, settings
        self.process: subprocess.Popen[str] | None = None

    def start(self, *, resume: bool = False) -> subprocess.Popen[str]:
        """Start torchrun with two ranks; stderr goes to OUT.txt."""
        here = Path(sys.executable).parent
        line = [here / "torchrun", "--standalone", "--nproc-per-node", RANKS, "--no-python"]
        line += [here / "facewire-train", "fit", "tiny", "--data", self.data, "--out", self.out]
        line += ["--device", "cpu", "--threads", 1, *(["--resume"] if resume else [])]
        line += [word for setting in self.settings for word in ("--set", setting)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                list(map(str, line)),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return self.process

    @property
    def errors(self) -> Path:
        """What the last start printed on stderr."""
        return self.out.with_suffix(".txt")

    def finish(self, *, resume: bool = False) -> int:
        """Run to the end; returns the exit status."""
        return self.start(resume=resume).wait()

    def n_logged(self) -> int:
        """Return the number of steps in the log."""
        try:
            return max((self.out / "log.csv").read_text().count("\n") - 1, 0)
        except FileNotFoundError:
            return 0

    def await_step(self, step: int) -> bool:
        """Wait until a step is in the log; False if the run ended first."""
        assert self.process is not None
        until = time.monotonic() + START_S
        while self.n_logged() < step:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > until:
                raise TimeoutError(f"{self.out} did not reach step {step} in {START_S:g} s")
            time.sleep(POLL_S)
        return True

    def kill(self, kind: str) -> list[str]:
        """Kill; returns what went on afterwards for too long, which is then ended."""
        assert self.process is not None
        ranks = children(self.process.pid)
        if kind == "all":
            stop(self.process.pid, signal.SIGSTOP)  # else torchrun ends the ranks by SIGTERM
            for pid in [*ranks.values(), self.process.pid]:
                stop(pid, signal.SIGKILL)
        elif kind == "torchrun":
            stop(self.process.pid, signal.SIGKILL)
        elif kind in ranks:
            stop(ranks[kind], signal.SIGKILL)
        else:  # the rank has not begun, or has ended
            stop(self.process.pid, signal.SIGKILL)
        until = time.monotonic() + END_S
        everyone = {**ranks, "torchrun": self.process.pid}
        while time.monotonic() < until:
            self.process.poll()  # takes its exit status
            if not any(map(is_running, everyone.values())):
                return []
            time.sleep(0.05)
        left = [name for name, pid in everyone.items() if is_running(pid)]
        for name in left:
            stop(everyone[name], signal.SIGKILL)
        self.process.wait()
        return left


def stop(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children(parent: int) -> dict[str, int]:
    """Return the process id of every rank that torchrun has started: {"rank 0": 4711, ...}."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) != parent:
                continue
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        for variable in environment:
            if variable.startswith(b"RANK="):
                found[f"rank {variable[5:].decode()}"] = int(entry.name)
    return found


def write_set(directory: Path) -> None:
    """Write a set of six people of synthetic texture, and a target of pairs.bin."""
    rng = np.random.default_rng(0)
    people = []
    for _ in range(6):
        base = rng.integers(60, 196, (7, 7, 3))
        noise = [rng.normal(0, 40, base.shape) for _ in range(6)]
        crops = [np.clip(base + n, 0, 255).astype(np.uint8) for n in noise]
        people.append([encode(np.kron(crop, np.ones((16, 16, 1), np.uint8))) for crop in crops])
    with FaceSetWriter(directory) as writer:
        for images in people:
            writer.add(images)
    pairs = [(p[0], p[1], True) for p in people]
    pairs += [(people[i][2], people[(i + 1) % 6][3], False) for i in range(6)]
    images = [image for a, b, _ in pairs for image in (a, b)]
    write_bin(directory / "pairs.bin", PairSet("pairs", images, np.array([s for *_, s in pairs])))


def differences(whole: Path, other: Path) -> Iterator[str]:
    """Yield what differs between the checkpoints and logs of two runs."""
    for name in sorted({f.name for out in (whole, other) for f in out.glob("*.pt")}):
        one, two = whole / name, other / name
        if not (one.exists() and two.exists()):
            yield f"{name} is there only {'without' if one.exists() else 'after'} a kill"
            continue
        states = [read_checkpoint(path) for path in (one, two)]
        for state in states:  # a commit meanwhile is no fault of the run
            state.pop("made_with", None)
        yield from (f"{name}: {key}" for key in unequal(states[0], states[1]))
    for kept in other.glob(".*.pt.*"):
        yield f"{kept.name} is left"
    for name, drop in (("log.csv", 2), ("verified.jsonl", 0)):
        # the last columns of the log are speeds
        lines, others = (
            [line.rsplit(",", drop)[0] for line in (out / name).read_text().splitlines()]
            for out in (whole, other)
        )
        if lines != others:
            yield f"{name}: {len(lines)} and {len(others)} lines"


def unequal(one: Any, two: Any, path: str = "") -> Iterator[str]:
    """Yield the paths at which two states differ in any bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}, key=str):
            if key in one and key in two:
                yield from unequal(one[key], two[key], f"{path}.{key}" if path else str(key))
            else:
                yield f"{path}.{key}"
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple):
        if len(one) != len(two):
            yield path
        for number, (a, b) in enumerate(zip(one, two, strict=False)):
            yield from unequal(a, b, f"{path}[{number}]")
    elif isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.shape == two.shape and one.dtype == two.dtype
        if not same or one.numpy().tobytes() != two.numpy().tobytes():
            yield path
    elif one != two:
        yield path


def refusal(errors: Path) -> str:
    """Return the one line by which the trainer refused to go on; "" if it was more, or none."""
    lines = errors.read_text().splitlines()
    said = {line for line in lines if line.startswith("facewire-train: ")}
    is_clear = len(said) == 1 and not any("Traceback" in line for line in before_torchrun(lines))
    return said.pop().removeprefix("facewire-train: ") if is_clear else ""


def before_torchrun(lines: list[str]) -> list[str]:
    """Return what the ranks printed: torchrun ends with a traceback of its own about them."""
    ends = [n for n, line in enumerate(lines) if "torch/distributed/elastic" in line]
    return lines[: max(ends[0] - 1, 0)] if ends else lines


def kill_once(
    number: int, whole: Training, out: Path, rng: random.Random, start_s: float, step_s: float
) -> Kill:
    """Start a run, kill it at a random moment, resume it and compare it with the whole one."""
    run = Training(whole.data, out, whole.settings)
    kind = KINDS[(number - 1) % len(KINDS)]
    step = rng.randrange(STEPS + 1)
    delay = rng.uniform(0, step_s if step else start_s)
    run.start()
    run.await_step(step)
    time.sleep(delay)
    left = run.kill(kind)
    at, logged = -1, run.n_logged()
    parts = len(list(out.glob(".*.pt.*"))) if out.exists() else 0
    if (out / "last.pt").exists():
        at = read_checkpoint(out / "last.pt")["step"]
    outcome, detail, failed_once = "equal", "", ""
    has_failed = run.finish(resume=True) != 0
    if has_failed and not refusal(run.errors):
        failed_once = run.errors.read_text()[-2000:]
        has_failed = run.finish(resume=True) != 0
    if has_failed:
        detail = refusal(run.errors)
        outcome = "refused" if detail else "differs"
        if not detail:
            detail = f"no resumed run: {run.errors.read_text()[-2000:]}"
        if at < 0 and run.finish():  # nothing to resume: a new run must work in what is left
            outcome, detail = "differs", f"no new run: {run.errors.read_text()[-300:]}"
    if outcome == "equal" or (outcome == "refused" and at < 0):
        found = list(differences(whole.out, out))
        if found:
            outcome, detail = "differs", ", ".join(found[:5])
    if left:
        outcome, detail = "differs", f"{', '.join(left)} went on for {END_S:g} s"
    if outcome != "differs":
        shutil.rmtree(out)
    return Kill(number, kind, logged, round(delay * 1000), at, parts, outcome, detail, failed_once)


def timed_whole(run: Training) -> tuple[float, float]:
    """Train without a kill; returns the seconds to the first step and from one to the next."""
    began = time.monotonic()
    process = run.start()
    marks = []
    for step in (1, STEPS):
        if not run.await_step(step):
            sys.exit(f"kill_training: the run ends by itself:\n{run.errors.read_text()[-2000:]}")
        marks.append(time.monotonic())
    if process.wait():
        sys.exit(f"kill_training: the run fails by itself:\n{run.errors.read_text()[-2000:]}")
    return marks[0] - began, (marks[1] - marks[0]) / (STEPS - 1)


def line_of(kill: Kill) -> str:
    """Return a row of the table."""
    source = "no checkpoint" if kill.resumed_from < 0 else f"step {kill.resumed_from}"
    words = (
        f"{kill.number:>3}  {kill.killed:<8}  {kill.after_step:>4}  {kill.delay_ms:>6} ms  "
        f"{source:<13}  {kill.parts:>5}  {kill.outcome}"
    )
    words += f": {kill.detail}" if kill.detail else ""
    return f"{words}; resumed twice, at first: {kill.failed_once}" if kill.failed_once else words


def main() -> None:
    """Kill, resume, compare, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=Path, help="empty directory; default: a new one")
    parser.add_argument("--kills", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        help="of the recipe, in place of a sharded head; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    wanted = parser.parse_args()
    home = wanted.out or Path(tempfile.mkdtemp(prefix="kill-training-"))
    home.mkdir(parents=True, exist_ok=True)
    if any(home.iterdir()):
        parser.error(f"{home} is not empty")
    write_set(home / "faces")
    whole = Training(home / "faces", home / "whole", (*SETTINGS, *(wanted.set or SHARDED)))
    start_s, step_s = timed_whole(whole)
    rng = random.Random(wanted.seed)
    table = sys.stderr if wanted.json else sys.stdout
    print("  #  killed    step   and after  resumed from   parts  outcome", file=table, flush=True)
    kills = []
    for number in range(1, wanted.kills + 1):
        kills.append(kill_once(number, whole, home / f"run-{number}", rng, start_s, step_s))
        print(line_of(kills[-1]), file=table, flush=True)
    counts = {name: sum(k.outcome == name for k in kills) for name in ("equal", "refused")}
    counts["differs"] = len(kills) - sum(counts.values())
    if wanted.json:
        print(json.dumps({**counts, "kills": [asdict(kill) for kill in kills]}, indent=1))
    else:
        print(f"{len(kills)} kills: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    if counts["differs"]:
        sys.exit(1)
    if not wanted.out:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
