"""The files of a sweep: its plan, its state, its confirmations, and `trials/<run>/` with a run folder and `trial.json` each."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cluster.storage.fence import written_by
from cluster.storage.location import last_name, places
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError
from cluster.sweeps.confirmation import Confirmation
from cluster.sweeps.records import Options, Sweep, Trial
from cluster.sweeps.sweep_place import PLAN
from multitask.config.messages import valid_names
from multitask.config.renamed import with_present_names
from multitask.errors import UserError
from multitask.plain_json import encode_json

STATE, TRIAL, STOP, TRIALS = "state.json", "trial.json", "stop", "trials"
CONFIRMATIONS = "confirmations.json"
FORMAT = 1


class SweepStore:
    """The files of one sweep, each replaced as a whole."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @classmethod
    def find(cls, name: str, storage: str = "runs") -> "SweepStore":
        """The sweep called `name` in `storage`, or the one whose folder or URI is `name`.

        Raises:
            UserError: there is none.
        """
        for location in places(name, storage):
            store = cls(Storage(location))
            if store.exists():
                return store
        if "://" in name:
            raise UserError(f"there is no sweep at {name}")
        names = [last_name(sweep.storage.location) for sweep in cls.all_in(storage)]
        known = valid_names(name, names) if names else "there is none yet"
        raise UserError(f"there is no sweep {name!r}; sweeps in {storage}: {known}")

    @classmethod
    def all_in(cls, storage: str) -> "list[SweepStore]":
        """The sweeps in `storage`, by name."""
        root = Storage(storage)
        return [cls(root.below(name)) for name in root.folders() if root.exists(f"{name}/{PLAN}")]

    @property
    def location(self) -> str:
        """Folder or URI."""
        return self.storage.place()

    def exists(self) -> bool:
        """Whether a sweep lies here."""
        return self.storage.exists(PLAN)

    def run(self, name: str) -> RunFolder:
        """The run folder of the trial or generation `name`."""
        return RunFolder(self.storage.below(f"{TRIALS}/{name}"))

    def read(self) -> Sweep:
        """The sweep with all its trials, in their order.

        Raises:
            UserError: a file is missing or damaged.
        """
        plan, state = self._read(PLAN), self._read(STATE) if self.storage.exists(STATE) else {}
        if plan.get("format") != FORMAT:
            raise UserError(
                f"{self.storage.place(PLAN)}: format {plan.get('format')!r} is not {FORMAT}: another version wrote it"
            )
        trials = [self._read_trial(name) for name in self.storage.folders(TRIALS)]
        return Sweep(
            name=plan["name"],
            location=self.location,
            recipe=plan["recipe"],
            base=with_present_names(plan["base"]),
            space=plan["space"],
            options=Options.from_dict(plan["options"]),
            trials=tuple(sorted(filter(None, trials), key=lambda trial: (trial.number, trial.repeat))),
            status=state.get("status", "running"),
            elapsed=state.get("elapsed", 0.0),
            created=plan["created"],
            versions=plan["versions"],
            id=plan.get("id", ""),
            tries=tuple(plan.get("tries", [])),
            confirmations=self._read_confirmations(),
        )

    def _read_confirmations(self) -> tuple[Confirmation, ...]:
        listed = self._read(CONFIRMATIONS)["confirmations"] if self.storage.exists(CONFIRMATIONS) else []
        return tuple(Confirmation.from_dict(values) for values in listed)

    def _read_trial(self, name: str) -> Trial | None:
        """None for a later generation's folder, which has no record of its own."""
        path = f"{TRIALS}/{name}/{TRIAL}"
        trial = Trial.from_dict(self._read(path)) if self.storage.exists(path) else None
        if trial is not None and trial.run != name:
            raise UserError(f"{self.location}/{path}: it is the record of {trial.run!r}")
        return trial

    def write_plan(self, sweep: Sweep) -> None:
        """Write what does not change while the sweep runs."""
        plan: dict[str, Any] = {
            "format": FORMAT,
            "name": sweep.name,
            "id": sweep.id,
            "recipe": sweep.recipe,
            "created": sweep.created,
        }
        plan |= {
            "options": sweep.options.to_dict(),
            "space": sweep.space,
            "base": sweep.base,
            "versions": sweep.versions,
            "tries": list(sweep.tries),
        }
        self._write(PLAN, plan)

    def write_confirmations(self, confirmations: Sequence[Confirmation]) -> None:
        """Replace the plans of confirmations, the first one first."""
        self._write(CONFIRMATIONS, {"confirmations": [one.to_dict() for one in confirmations]})

    def write_state(self, values: dict[str, Any]) -> None:
        """Replace `state.json`."""
        self._write(STATE, values)

    def state(self) -> dict[str, Any]:
        """What `state.json` says; empty before the sweep's first attempt."""
        return self._read(STATE) if self.storage.exists(STATE) else {}

    def write_trial(self, trial: Trial) -> None:
        """Replace the record of one trial."""
        self._write(f"{TRIALS}/{trial.run}/{TRIAL}", trial.to_dict())

    def write_traceback(self, trial: Trial, text: str) -> None:
        """Keep what the trial's last attempt failed with beside its record."""
        self.storage.write(self._traceback(trial), text.encode())

    def traceback(self, trial: Trial) -> str | None:
        """What the trial's last attempt failed with; None where nothing was raised."""
        path = self._traceback(trial)
        return self.storage.read(path).decode() if self.storage.exists(path) else None

    def _traceback(self, trial: Trial) -> str:
        return f"{TRIALS}/{trial.run}/traceback-{trial.attempts}.txt"

    def _write(self, path: str, value: dict[str, Any]) -> None:
        """Replace a file, which names the attempt that wrote it."""
        data = encode_json(value | written_by(self.storage))
        try:
            self.storage.write(path, data)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{self.storage.place(path)} cannot be written: {error}; `concord sweep resume` goes on"
            ) from None

    def _read(self, path: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self.storage.read(path))
        except StoreError:
            raise
        except OSError:
            raise UserError(f"{self.location}: there is no {path}") from None
        except ValueError as error:
            raise UserError(f"{self.storage.place(path)}: not valid JSON: {error}") from None
        return value
