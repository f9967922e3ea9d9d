"""What is wrong with the folder of a sweep, its trials' run folders among it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.storage.finding import Finding, remove_file, remove_folder
from cluster.storage.leftovers import find_leftovers
from cluster.storage.run_checkup import check_run
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.confirmation import Confirmation
from cluster.sweeps.records import Role, Trial
from cluster.sweeps.store import CONFIRMATIONS, STATE, STOP, TRIAL, TRIALS, SweepStore
from cluster.sweeps.sweep_place import PLAN
from multitask.errors import UserError
from multitask.export import check_export

_BEST = "best"


def check_sweep(storage: Storage) -> list[Finding]:
    """All findings of a sweep's folder.

    Raises:
        OSError, pyarrow.ArrowException: the storage does not answer.
    """
    return [*_check_files(storage), *find_leftovers(storage), *_check_best(storage), *_check_trials(storage)]


def _check_files(storage: Storage) -> Iterator[Finding]:
    folder = RunFolder(storage)
    if problem := _problem(folder, PLAN):
        yield Finding(PLAN, problem, "the plan is nowhere else: put it back from a copy, or begin another sweep")
    if problem := _problem(folder, STATE):
        yield _aside(STATE, problem, "set it aside: `concord sweep resume` writes it, and counts its time from there")
    if problem := _problem(folder, CONFIRMATIONS) or _problem_of_confirmations(folder):
        yield _aside(CONFIRMATIONS, problem, "set it aside: `concord best --confirm` plans it anew")
    if storage.exists(STOP):
        yield remove_file(STOP, "the sweep was asked to stop")


def _problem(folder: RunFolder, name: str) -> str | None:
    try:
        folder.read_json(name)
    except UserError as error:
        return str(error).rpartition(f"{name}: ")[2]
    return None


def _problem_of_confirmations(folder: RunFolder) -> str | None:
    try:
        for values in (folder.read_json(CONFIRMATIONS) or {"confirmations": []})["confirmations"]:
            Confirmation.from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it is no list of confirmations"
    return None


def _check_best(storage: Storage) -> Iterator[Finding]:
    if not storage.is_local or not storage.exists(_BEST):
        return
    try:
        check_export(Path(storage.path(_BEST)))
    except UserError as error:
        yield Finding(_BEST, str(error), "`concord best --export` writes it anew")


def _check_trials(storage: Storage) -> Iterator[Finding]:
    trials, problems = _read_trials(storage)
    known = {run for trial in trials.values() for run in (trial.run, *(own.run for own in trial.generations))}
    planned = next((trial for trial in trials.values() if trial.role in ("recipe", "sample")), None)
    for name in storage.folders(TRIALS):
        path = f"{TRIALS}/{name}"
        if name in problems:
            yield _trial_finding(storage, name, problems[name], planned)
        elif name not in known and not problems and not _had_record(storage, path):
            yield remove_folder(path, "the folder of no trial")
            continue
        own = storage.below(path)
        if own.exists("config.yaml") or own.exists("run.json"):
            yield from (finding.below(path) for finding in check_run(own, exports=False))


def _had_record(storage: Storage, path: str) -> bool:
    """Whether a record lay there that was set aside: the trial is planned again."""
    return any(name.startswith(f"{TRIAL}.damaged-") for name in storage.files(path))


def _read_trials(storage: Storage) -> tuple[dict[str, Trial], dict[str, str]]:
    """The records by their folder, and what is wrong with the others."""
    trials, problems = dict[str, Trial](), dict[str, str]()
    for name in storage.folders(TRIALS):
        try:
            values = RunFolder(storage.below(f"{TRIALS}/{name}")).read_json(TRIAL)
            if values is not None:
                trials[name] = Trial.from_dict(values)
                if trials[name].run != name:
                    problems[name] = f"it is the record of {trials.pop(name).run!r}"
        except UserError as error:
            problems[name] = str(error).rpartition(f"{TRIAL}: ")[2]
        except (KeyError, TypeError, ValueError, AttributeError):
            problems[name] = "it is no record of a trial"
    return trials, problems


def _trial_finding(storage: Storage, name: str, problem: str, planned: Trial | None) -> Finding:
    """A trial's record is made anew from its run folder, which knows its sample; what it reported comes from there on a resume."""
    path = f"{TRIALS}/{name}/{TRIAL}"
    trial = _rebuilt(storage, name, planned)
    if trial is None:
        advice = "put it back from a copy; `concord sweep resume` needs it"
        if re.search(r"-base-\w+?(-r\d+)?$", name) and not _is_population(storage):
            return _aside(path, problem, "set it aside: `concord sweep resume` plans it again, and takes in its run")
        return Finding(path, problem, advice)

    def mend(inner: Storage) -> None:
        RunFolder(inner.below(f"{TRIALS}/{name}")).set_aside(TRIAL, problem)
        SweepStore(inner).write_trial(trial)

    return Finding(path, problem, "write it anew from the trial's run folder", mend)


def _rebuilt(storage: Storage, name: str, planned: Trial | None) -> Trial | None:
    """The waiting trial whose run is `name`; None where its folder does not tell, or a population's, whose past is lost."""
    named = re.search(r"-(\d{3,})(?:-r(\d+))?$", name)
    if named is None or _is_population(storage):
        return None
    try:
        sample: Any = RunFolder(storage.below(f"{TRIALS}/{name}")).config().tracking.extra.get("sample")
    except UserError:
        return None
    if not isinstance(sample, dict):
        return None
    rows, iterations = (planned.planned_rows, planned.planned_iterations) if planned else (0, 0)
    number, repeat = int(named[1]), int(named[2] or 0)
    role: Role = "sample" if number else "recipe"
    return Trial(number, repeat, role, name, sample, planned_rows=rows, planned_iterations=iterations)


def _is_population(storage: Storage) -> bool:
    try:
        plan = RunFolder(storage).read_json(PLAN) or {}
    except UserError:
        return True
    return plan.get("options", {}).get("scheduler") == "pbt"


def _aside(path: str, problem: str, advice: str) -> Finding:
    folder, _, name = path.rpartition("/")

    def mend(storage: Storage) -> None:
        RunFolder(storage.below(folder) if folder else storage).set_aside(name, problem)

    return Finding(path, problem, advice, mend)
