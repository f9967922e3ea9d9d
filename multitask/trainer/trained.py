"""What a training gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multitask.config import RunConfig
from multitask.data import Tables, load_tokenizer
from multitask.errors import UserError
from multitask.evaluation import evaluate, task_scores
from multitask.export import Predictor, Text, write_export
from multitask.export.versions import installed_versions
from multitask.model import MultitaskModel, build_model
from multitask.trainer.progress import Progress


class Trained:
    """A trained model, with the weights of its best evaluation, or the last ones where there was none.

    `scores`: dev scores of that evaluation. `history`: training records and dev scores in the order of steps, each with
    `step`, `epoch` and `phase`. `status`: `finished`, `stopped` (out of patience, or `training.stop_after`) or `interrupted`. `weights`: the trained
    parameters by name, fp32. `predictor` predicts as an export would.
    """

    def __init__(
        self,
        config: RunConfig,
        tables: Tables,
        model: MultitaskModel,
        weights: Mapping[str, Tensor],
        progress: Progress,
        history: list[dict[str, Any]],
        status: str,
    ) -> None:
        self.config, self.model, self.weights = config, model.eval(), dict(weights)
        self.progress, self.history, self.status = progress, history, status
        self.scores = progress.best_scores()
        self._tables = tables
        description = {"config": config.to_public(), "scores": self.scores}
        device = next(model.parameters()).device
        self.predictor = Predictor(model, load_tokenizer(config.encoder.name), description, device)

    def predict(self, task: str, texts: Sequence[Text], *, probabilities: bool = False) -> list[Any]:
        """Predictions for `texts`; as `multitask.export.Predictor.predict`."""
        if probabilities:
            return self.predictor.predict(task, texts, probabilities=True)
        return self.predictor.predict(task, texts)

    def evaluate(self, split: str = "dev") -> dict[str, dict[str, float]]:
        """Scores of a split by task and metric, of the tasks with labels.

        Raises:
            UserError: no task has labelled rows there.
        """
        known = {"train": self._tables.train, "dev": self._tables.dev, **self._tables.more_dev}.get(split)
        if known is None:
            declared = [task for task, own in self.config.tasks.items() if own.files.get(split)]
            test = self._tables.test
            known = {task: test[task] if task in test else self.predictor.table(task, split) for task in declared}
        scored = {task: table for task, table in known.items() if self.config.tasks[task].kind.name != "contrastive"}
        if not scored:
            raise UserError(f"no task has a split {split!r}")
        for task, table in scored.items():
            if np.isnan(np.asarray(table.labels)).any():
                raise UserError(f"{task} has rows without a label in its split {split!r}")
        pad_id, device, precision = self._tables.pad_id, self.predictor.device, self.config.precision
        found = {task: evaluate(self.model, task, table, pad_id, device, precision) for task, table in scored.items()}
        return {
            task: task_scores(self.config.tasks[task], own, np.asarray(scored[task].labels))
            for task, own in found.items()
        }

    def export(self, path: str | Path) -> Path:
        """Write the model to the folder `path`, for `multitask.load` and `AutoModel.from_pretrained`.

        Raises:
            UserError: `path` holds something that is no export.
        """
        # What is not trained is loaded again, since a model that computes in bf16 has it rounded.
        model = build_model(self.config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    parameter.copy_(self.weights[name])
        best = self.progress.best_step
        write_export(
            Path(path),
            model,
            self.config,
            scores=self.scores,
            step=self.progress.step if best is None else best,
            data_hashes=self._tables.hashes(),
            versions=installed_versions(),
        )
        return Path(path)
