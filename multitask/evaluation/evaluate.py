"""Predictions of a model for all rows of a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from multitask.config import Precision
from multitask.data import Batch, TaskTable, collate
from multitask.evaluation.retrieval import read_texts, retrieval_ranks
from multitask.model import ContrastiveHead, MultitaskModel

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Evaluation:
    """Predictions (R,) on the labels' scale and, for tasks with classes, probabilities (R, C); in the table's order, or that of the rows asked for.

    Of contrastive tasks the ranks (R,) of the positives (`retrieval_ranks`).
    """

    predictions: np.ndarray
    probabilities: np.ndarray | None


def evaluate(
    model: MultitaskModel,
    task: str,
    table: TaskTable,
    pad_id: int,
    device: torch.device,
    precision: Precision,
    rows: np.ndarray | None = None,
) -> Evaluation:
    """Predict every row of `table` once, or these `rows` alone; with a process group ranks share out the batches.

    Batches are the same for any number of ranks, so that the predictions are, too. All ranks get the whole result.
    """
    chosen = np.arange(table.rows) if rows is None else rows
    batches = _batches(np.asarray(table.lengths[chosen]), table.sequences)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    was_training = model.training
    model.eval()
    compares = isinstance(model.head(task), ContrastiveHead)
    parts = []
    for turn in range(-(-len(batches) // world)):
        number = turn * world + rank
        # Every rank makes as many passes as any other: ZeRO 3 gathers the weights in each.
        places = batches[min(number, len(batches) - 1)]
        batch = collate(table, chosen[places], pad_id).to(device)
        with torch.no_grad(), _autocast(batch, precision):
            found = read_texts(model, task, batch) if compares else _read(model, task, model(task, batch))
        if number < len(batches):
            parts.append((places, *found))
    model.train(was_training)
    return _ranked(len(chosen), parts, world) if compares else _assemble(len(chosen), parts, world)


@torch.no_grad()
def predict_raw(model: MultitaskModel, task: str, batch: Any, precision: Precision) -> Tensor:
    """Raw outputs (B, outputs) for a batch, in the precision of training."""
    with _autocast(batch, precision):
        raw: Tensor = model(task, batch)
    return raw


def _autocast(batch: Batch, precision: Precision) -> torch.autocast:
    return torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=precision == "autocast")


def _read(model: MultitaskModel, task: str, raw: Tensor) -> tuple[np.ndarray, np.ndarray | None]:
    head = model.head(task)
    probabilities = head.probabilities(raw)
    return head.predict(raw).cpu().numpy(), None if probabilities is None else probabilities.cpu().numpy()


def _batches(lengths: np.ndarray, sequences_per_row: int) -> list[np.ndarray]:
    """Row numbers in batches of at most about `BATCH_TOKENS` padded tokens, of like length."""
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        # Longest last: the batch grows while its last row's length times its size fits.
        size = 1
        while (
            start + size < len(order) and (size + 1) * lengths[order[start + size]] * sequences_per_row <= BATCH_TOKENS
        ):
            size += 1
        batches.append(order[start : start + size])
        start += size
    return batches


_Parts = list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def _of_all_ranks(parts: _Parts, world: int) -> _Parts:
    everyone = [parts]
    if world > 1:
        everyone = [[] for _ in range(world)]
        dist.all_gather_object(everyone, parts)
    return [part for own in everyone for part in own]


def _ranked(rows: int, parts: _Parts, world: int) -> Evaluation:
    found = _of_all_ranks(parts, world)
    order = np.argsort(np.concatenate([numbers for numbers, _, _ in found]))
    texts, keys = (np.concatenate([part[place] for part in found])[order] for place in (1, 2))
    assert len(texts) == rows, "every row is read once"
    return Evaluation(retrieval_ranks(texts, keys), None)


def _assemble(rows: int, parts: _Parts, world: int) -> Evaluation:
    found = _of_all_ranks(parts, world)
    predictions = np.zeros(rows, dtype=np.float64)
    probabilities = None if found[0][2] is None else np.zeros((rows, found[0][2].shape[1]), dtype=np.float32)
    for numbers, values, chances in found:
        predictions[numbers] = values
        if probabilities is not None and chances is not None:
            probabilities[numbers] = chances
    return Evaluation(predictions, probabilities)
