"""Predictions of an exported model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig, parse_written
from multitask.config.kind import ClassName, MultiLabel, class_names
from multitask.config.model import LoRA, NoAdapter
from multitask.data import Batch, Pairing, TaskTable, encode_texts, load_tokenizer, pairing_of, prepare, tokenizer_id
from multitask.errors import UserError
from multitask.evaluation import Evaluation, evaluate
from multitask.evaluation.evaluate import predict_raw
from multitask.export.checking import check_export
from multitask.export.writer import DESCRIPTION, HEADS
from multitask.label_sets import set_members
from multitask.model import MultitaskModel, assemble_model, load_encoder

Text = str | Sequence[str]
_BATCH = 64


class Predictor:
    """An exported model, ready to predict.

    `config`: the run's config; `scores`: the dev scores of its checkpoint; `tasks`: names of the tasks that
    it predicts.
    """

    def __init__(
        self,
        model: MultitaskModel,
        tokenizer: PreTrainedTokenizerFast,
        description: dict[str, Any],
        device: torch.device,
    ) -> None:
        self.config: RunConfig = parse_written(description["config"], DESCRIPTION)
        self.scores: dict[str, float] = description["scores"]
        self.tasks = tuple(model.heads)
        self.model, self.tokenizer, self.device = model, tokenizer, device

    @overload
    def predict(
        self, task: str, texts: Sequence[Text], *, probabilities: Literal[False] = False
    ) -> list[ClassName] | list[float] | list[list[ClassName]]: ...
    @overload
    def predict(
        self, task: str, texts: Sequence[Text], *, probabilities: Literal[True]
    ) -> list[dict[ClassName, float]]: ...
    def predict(
        self, task: str, texts: Sequence[Text], *, probabilities: bool = False
    ) -> list[ClassName] | list[float] | list[list[ClassName]] | list[dict[ClassName, float]]:
        """One prediction per text, or per pair of texts.

        A class is its name where `kind.labels` names the classes, else its number from 0; a task of several classes a row gives a
        list of them, a task of numbers floats in its range. With `probabilities` each prediction is a mapping of every class, in their order, to its probability instead.

        Raises:
            UserError: there is no such task, the texts are not of its shape, or `probabilities` of a task without classes.
        """
        head, names = self.model.head(self._known(task)), class_names(self.config.tasks[task].kind)
        if probabilities and not names:
            raise UserError(f"{task}: a task without classes has no probabilities")
        raw = self._raw(task, texts)
        if not probabilities:
            values = [value for part in raw for value in head.predict(part).tolist()]
            if isinstance(self.config.tasks[task].kind, MultiLabel):
                return [[names[k] for k in set_members(value)] for value in values]
            return [names[value] for value in values] if names else values
        chances = [row for part in raw for row in _of_classes(head.probabilities(part)).tolist()]
        return [dict(zip(names, row, strict=True)) for row in chances]

    @torch.no_grad()
    def embed(self, texts: Sequence[str], task: str | None = None) -> np.ndarray:
        """The encoder's vectors (texts, D), fp32; with projected attention those of `task`, or without any task's layers."""
        if task is not None:
            self._known(task)
        if isinstance(texts, str):
            raise UserError("give a list of texts, got one string")
        parts = []
        for start in range(0, len(texts), _BATCH):
            own: list[tuple[str, str | None]] = [(text, None) for text in texts[start : start + _BATCH]]
            batch = self._encode(own, "single")
            vectors = self.model.embed(task, batch)
            parts.append(vectors.float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.model.encoder.width), np.float32)

    def evaluate(self, task: str, split: str, config: RunConfig | None = None) -> tuple[TaskTable, Evaluation]:
        """Predict a whole split of `task`, in the batches of training's own evaluation. `config` says where it lies."""
        table = self.table(task, split, config)
        pad_id = int(self.tokenizer.pad_token_id)
        return table, evaluate(self.model, task, table, pad_id, self.device, self.config.precision)

    def table(self, task: str, split: str, config: RunConfig | None = None) -> TaskTable:
        """The tokenised rows of a split of `task`; `config` says where it lies."""
        return prepare(config or self.config, self._known(task), split, self.tokenizer, tokenizer_id(self.tokenizer))

    def _raw(self, task: str, texts: Sequence[Text]) -> list[Tensor]:
        if isinstance(texts, str):
            raise UserError(f"{task}: give a list of texts, got one string")
        rows = [self._row(task, number, text) for number, text in enumerate(texts)]
        pairing = pairing_of(self.config.tasks[task])
        precision = self.config.precision
        return [
            predict_raw(self.model, task, self._encode(rows[start : start + _BATCH], pairing), precision)
            for start in range(0, len(rows), _BATCH)
        ]

    def _encode(self, rows: Sequence[tuple[str, str | None]], pairing: Pairing) -> Batch:
        data = self.config.data
        return encode_texts(self.tokenizer, rows, pairing, data.max_length, data.special_tokens).to(self.device)

    def _row(self, task: str, number: int, text: Text) -> tuple[str, str | None]:
        pair = self.config.tasks[task].is_pair
        if not pair and isinstance(text, str):
            return text, None
        if pair and isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(t, str) for t in text):
            return text[0], text[1]
        raise UserError(f"{task}: text {number} must be {'a pair of strings' if pair else 'one string'}, got {text!r}")

    def _known(self, task: str) -> str:
        if task not in self.tasks:
            raise UserError(f"the model has no task {task!r}; tasks: {', '.join(self.tasks)}")
        return task


def _of_classes(probabilities: Tensor | None) -> Tensor:
    assert probabilities is not None, "a task with classes has a head with probabilities"
    return probabilities


def load_export(folder: Path, device: str | None = None) -> Predictor:
    """Open the export in `folder` on `device` (a GPU where there is one, if not given).

    Raises:
        UserError: there is no export, it is of another format, or a file's checksum differs.
    """
    description = check_export(folder)
    config = parse_written(description["config"], str(folder / DESCRIPTION))
    model = _model(folder, config)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Training evaluates bf16 weights where it trains them; the same weights give the same scores.
    model.to(where, torch.bfloat16 if config.precision == "bf16" else torch.float32).eval()
    return Predictor(model, load_tokenizer(str(folder.absolute())), description, where)


def _model(folder: Path, config: RunConfig) -> MultitaskModel:
    shape = config.encoder.model_copy(update={"name": str(folder.absolute())})
    if isinstance(shape.adapter, LoRA):
        # The export's encoder has taken the updates in.
        shape = shape.model_copy(update={"adapter": NoAdapter()})
    predicting = [name for name, task in config.tasks.items() if task.kind.name != "contrastive"]
    model = assemble_model(config, load_encoder(shape, config.data.max_length), predicting)
    wanted = {name for name in model.state_dict() if not name.startswith("encoder.model.")}
    tensors = load_file(folder / HEADS)
    if set(tensors) != wanted:
        odd = sorted(set(tensors) ^ wanted)[0]
        raise UserError(f"{folder / HEADS} does not belong to the config in {DESCRIPTION}: they differ in {odd}")
    model.load_state_dict(tensors, strict=False)
    return model
