"""The files of a run: `config.yaml`, `run.json`, `result.json`, checkpoints, export, W&B."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import yaml

from cluster.storage.checkpoint import FOLDER, find_checkpoint, read_state
from cluster.storage.fence import written_by
from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError
from multitask.config import RunConfig, parse_written
from multitask.errors import UserError
from multitask.plain_json import encode_json
from multitask.score_names import is_dev_score

# Where a run that goes on with another one's weights began: their evaluations, step, rows and tokens.
INHERITED = "inherited.json"


class RunFolder:
    """The folder `cluster.storage/<name>` of one run.

    `run_id`: of the run, once it was started here. `notes`: sentences on files that were damaged and set aside.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.run_id = ""
        self.notes: list[str] = []

    @classmethod
    def of(cls, config: RunConfig) -> "RunFolder":
        """The folder of the run that `config` names."""
        return cls(Storage(config.cluster.storage).below(config.name))

    @property
    def location(self) -> str:
        """Folder or URI."""
        return self.storage.place()

    @property
    def has_begun(self) -> bool:
        """Whether a run was started here: it goes on with what the folder holds."""
        return self.storage.exists("run.json")

    def start(self, config: RunConfig) -> str:
        """Write the config and give the run's id, which stays the same when the run goes on. One rank calls it.

        A run without a whole checkpoint has trained nothing yet and takes a new config. Files that are damaged are set aside.

        Raises:
            UserError: the folder holds a run whose config would train something else.
        """
        begun = self.has_begun or bool(self.storage.folders(FOLDER))
        run = (self._identity() if begun else None) or {}
        state: dict[str, Any] = {}
        if begun and (not run or self._trains_otherwise(config)):
            state = self._newest_state()
            if state:
                self._check_same(parse_written(state["config"], self.location), config)
        self.run_id = run.get("run_id") or state.get("run_id") or f"{config.name}-{secrets.token_hex(4)}"
        self.write_config(config)
        if run.get("run_id") != self.run_id:
            # Last: a folder with run.json has a config, too, wherever the start was cut off.
            self.write_record("run.json", {"run_id": self.run_id})
        return self.run_id

    def _identity(self) -> dict[str, Any] | None:
        """`run.json`; None where there is none, or where it was damaged. Its `run_id` names files."""
        run = self.read_or_set_aside("run.json")
        if run is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", str(run.get("run_id"))):
            self.set_aside("run.json", f"{self.location}/run.json: its run_id is no name")
            return None
        return run

    def _trains_otherwise(self, config: RunConfig) -> bool:
        """Whether `config.yaml` is that of another training, or cannot be read any more."""
        try:
            return self.config().trajectory_hash() != config.trajectory_hash()
        except UserError as error:
            self.set_aside("config.yaml", str(error))
            return True

    def _newest_state(self) -> dict[str, Any]:
        """The state of the newest whole checkpoint; empty where there is none."""
        newest, _ = find_checkpoint(self.storage)
        return read_state(self.storage, newest) if newest else {}

    def continue_as(self, config: RunConfig, previous: "RunFolder") -> None:
        """Begin the run of `config`, which is the tracked run of `previous` with another config."""
        run = previous._identity() or {"run_id": f"{config.name}-{secrets.token_hex(4)}"}
        ledger = f"wandb/{run['run_id']}.json"
        if previous.storage.exists(ledger):
            self.storage.write(ledger, previous.storage.read(ledger))
        if (history := previous.read_or_set_aside("history.json")) is not None:
            self.write_record("history.json", history)
        self.write_config(config)
        self.write_record("run.json", run)

    def write_config(self, config: RunConfig) -> None:
        """Replace `config.yaml`."""
        text = yaml.safe_dump(config.to_public(), sort_keys=False, allow_unicode=True)
        self.storage.write("config.yaml", text.encode())

    def config(self) -> RunConfig:
        """The run's config.

        Raises:
            UserError: there is no run here.
        """
        place = self.storage.place("config.yaml")
        try:
            text = self.storage.read("config.yaml")
        except StoreError:
            raise
        except OSError:
            raise UserError(f"{self.location} is no run folder: it has no config.yaml") from None
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(tree, dict):
            raise UserError(f"{place}: must be a mapping of keys")
        return parse_written(tree, place)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Replace `result.json`."""
        self.write_record("result.json", result)

    def result(self) -> dict[str, Any] | None:
        """`result.json`; None before the first evaluation."""
        return self.read_json("result.json")

    def best_scores(self) -> dict[str, float]:
        """The dev scores of the best evaluation that `result.json` tells of; empty before the first."""
        result = self.result() or {}
        found = [point for point in result.get("history", []) if point["step"] == result.get("best_step")]
        return {key: value for key, value in found[-1].items() if is_dev_score(key)} if found else {}

    def write_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Replace a JSON file of the folder, which names the attempt that wrote it."""
        self.write_json(name, {**record, **written_by(self.storage)})

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file of the folder."""
        self.storage.write(name, encode_json(value))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is none.

        Raises:
            UserError: it is damaged.
        """
        if not self.storage.exists(name):
            return None
        try:
            value = json.loads(self.storage.read(name))
        except ValueError as error:
            raise UserError(f"{self.storage.place(name)}: not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise UserError(f"{self.storage.place(name)}: must be a JSON object")
        return value

    def read_or_set_aside(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where there is none, or where it was damaged and now has another name (`notes`)."""
        try:
            value = self.read_json(name)
        except UserError as error:
            self.set_aside(name, str(error))
            return None
        return value

    def set_aside(self, name: str, problem: str) -> None:
        """Give a damaged file another name, and note the `problem`."""
        if not self.storage.exists(name):
            return
        aside = f"{name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        self.storage.rename_file(name, aside)
        self.notes.append(f"{problem}; it was set aside as {aside}")

    def _check_same(self, old: RunConfig, config: RunConfig) -> None:
        if old.trajectory_hash() == config.trajectory_hash():
            return
        changed = ", ".join(differences(old.trajectory(), config.trajectory()))
        raise UserError(
            f"name: {self.location} holds a run with another config (differs in {changed}); "
            "give this one another name, or start over with --restart"
        )


def differences(old: object, new: object, path: str = "") -> list[str]:
    """Dotted keys in which two trees differ, leaves first met."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*old, *(k for k in new if k not in old)]:
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new else [path]
