"""Tiny runs and sweeps, started and disturbed at random moments in random places, must end as if nothing had happened.

    python -m tests.chaos.soak --seed 1                        # the short version: some minutes on two cores
    python -m tests.chaos.soak --seed 1 --runs 300 --sweeps 40 # the long one

Each subject is started, disturbed one to three times, and started again until it is through. It must end within a bound each
time, come to the checksums and files of one that nobody disturbed, and leave no process. The exit code is 1 where one did not.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.builders import build_tiny_bert, write_tiny_tasks
from tests.chaos.faults import damage_something, kill_everything, kill_something, marked_processes, start
from tests.chaos.subjects import KINDS, Subject, run_of, sweep_of

# A start that takes longer than this hangs; one on a busy machine takes a tenth.
BOUND_S = 300.0
# Processes that Ray ends by itself when its driver has gone.
LEAVING_S = 30.0
MAX_STARTS = 12
_RUN_FAULTS = ("kill", "kill", "kill", "everything", "damage", "second", "full disk")
_SWEEP_FAULTS = ("kill", "kill", "everything", "second")


class FailedSubjectError(Exception):
    """A subject that did not end as it must."""


class Soak:
    """All subjects of one seed; `told` counts what was done to them."""

    def __init__(self, place: Path, seed: int) -> None:
        self._place, self._seed = place, seed
        self._whole: dict[str, tuple[dict[str, Any], float]] = {}
        self.told: Counter[str] = Counter()

    def check(self, kind: str, number: int) -> None:
        """Disturb one run of `kind`, or a sweep.

        Raises:
            FailedSubjectError: it hung, left something, or came to something else.
        """
        expected, seconds = self._undisturbed(kind)
        generator = random.Random(f"{self._seed} {kind} {number}")
        subject = _subject(kind, f"{kind}-{number}", self._place)
        done: list[str] = []
        try:
            self._disturb(subject, generator, seconds, done)
            _compare(subject, expected)
        except Exception as error:
            log = (self._place / f"{subject.name}.log").read_text(errors="replace")[-3000:]
            raise FailedSubjectError(f"{subject.name}: {error}; done to it: {', '.join(done)}\n{log}") from error
        finally:
            kill_everything(subject.name)
            self.told.update(done)
        shutil.rmtree(subject.folder)

    def _undisturbed(self, kind: str) -> tuple[dict[str, Any], float]:
        """What one of `kind` comes to that nobody disturbs, and the seconds that it takes."""
        if kind not in self._whole:
            subject, begun = _subject(kind, f"{kind}-whole", self._place), time.monotonic()
            code = _wait(start(subject.command, subject.name, self._place / f"{subject.name}.log"))
            if code != 0:
                raise FailedSubjectError(f"{subject.name}: exit code {code}, undisturbed; see {self._place}")
            self._whole[kind] = subject.outcome(), time.monotonic() - begun
        return self._whole[kind]

    def _disturb(self, subject: Subject, generator: random.Random, seconds: float, done: list[str]) -> None:
        """Start it until it is through; the first one to three starts are disturbed."""
        faults = [
            generator.choice(_SWEEP_FAULTS if subject.is_sweep else _RUN_FAULTS) for _ in range(generator.randint(1, 3))
        ]
        log = self._place / f"{subject.name}.log"
        for _ in range(MAX_STARTS):
            fault = faults.pop() if faults else None
            if fault == "damage":
                done.append(f"damage: {_without_step(damage_something(subject.folder, generator))}")
            full = fault == "full disk" and not subject.uses_ray
            process = start(subject.command, subject.name, log, full_disk=full)
            if full:
                done.append("full disk")
            elif fault is not None and fault != "damage":
                _wait(process, generator.uniform(0, seconds), or_go_on=True)
                done.append(_act(fault, subject, log, generator))
            code = _wait(process)
            _check_nothing_left(subject.name)
            if code == 0 and not faults:
                return
        raise FailedSubjectError(f"not through after {MAX_STARTS} starts, the last with exit code {code}")


def _subject(kind: str, name: str, place: Path) -> Subject:
    return sweep_of(name, place) if kind == "sweep" else run_of(kind, name, place)


def _act(fault: str, subject: Subject, log: Path, generator: random.Random) -> str:
    """Do it, and say what was done."""
    if fault == "everything":
        kill_everything(subject.name)
        return "kill: everything"
    if fault == "second":
        code = _wait(start(subject.command, subject.name, log))
        if code not in (0, 1, 2):
            raise FailedSubjectError(f"a second start ended with exit code {code}")
        if code == 2 and "is held by process" not in log.read_text(errors="replace"):
            raise FailedSubjectError("a second start was not told who holds the folder")
        return f"second start: exit code {code}"
    return f"kill: {kill_something(subject.name, generator)}"


def _wait(process: "subprocess.Popen[bytes]", seconds: float = BOUND_S, *, or_go_on: bool = False) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        if or_go_on:
            return None
        raise FailedSubjectError(f"it has not ended within {seconds:g} s") from None


def _check_nothing_left(mark: str) -> None:
    deadline = time.monotonic() + LEAVING_S
    while left := marked_processes(mark):
        if time.monotonic() > deadline:
            raise FailedSubjectError(f"processes are left: {left}")
        time.sleep(0.2)


def _compare(subject: Subject, expected: dict[str, Any]) -> None:
    reached = json.loads(json.dumps(subject.outcome()).replace(subject.name, "NAME"))
    wanted = json.loads(json.dumps(expected).replace(f"{subject.name.rpartition('-')[0]}-whole", "NAME"))
    differing = [key for key in wanted if reached.get(key) != wanted[key]]
    if differing:
        raise FailedSubjectError(f"{', '.join(differing)} differ: {[(reached[key], wanted[key]) for key in differing]}")


def _without_step(text: str) -> str:
    """`torn checkpoints/*/manifest.json`: what was damaged, whichever of its kind."""
    parts = text.split("/")
    return "/".join([*parts[:1], "*", parts[-1]] if len(parts) > 2 else parts)


def main() -> None:
    """Run it, and print one line for each subject."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first run and sweep, to go on from another call's"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of runs")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    write_tiny_tasks(place)
    build_tiny_bert(place / "encoder")
    soak, failures = Soak(place, given.seed), 0
    kinds, first = given.kinds, given.first
    subjects = [(kinds[number % len(kinds)], number) for number in range(first, first + given.runs)]
    for kind, number in [*subjects, *(("sweep", number) for number in range(first, first + given.sweeps))]:
        begun = time.monotonic()
        try:
            soak.check(kind, number)
            print(f"{kind}-{number}  as if nothing had happened  {time.monotonic() - begun:.0f} s", flush=True)
        except FailedSubjectError as failure:
            failures += 1
            print(f"{kind}-{number}  FAILED  {failure}", flush=True)
    for what, times in sorted(soak.told.items()):
        print(f"{times:5}  {what}")
    print(f"{given.runs} runs, {given.sweeps} sweeps, {failures} failed" + (f"; see {place}" if failures else ""))
    if not failures:
        shutil.rmtree(place)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
