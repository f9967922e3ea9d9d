"""Predictions of a model for all rows of a table."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from multitask.autocast import autocast
from multitask.config import Precision
from multitask.data import TaskTable, collate
from multitask.evaluation.retrieval import read_texts, retrieval_ranks
from multitask.evaluation.shared import gather_rows, place
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
    """Predict every row of `table` once, or these `rows` alone; in one process."""
    found = evaluate_together(model, task, table, pad_id, device, precision, rows)
    assert found is not None, "rank 0 has the result"
    return found


def evaluate_together(
    model: MultitaskModel,
    task: str,
    table: TaskTable,
    pad_id: int,
    device: torch.device,
    precision: Precision,
    rows: np.ndarray | None = None,
) -> Evaluation | None:
    """As `evaluate`; with a process group ranks share out the batches, and rank 0 alone has the result.

    Batches are the same for any number of ranks, so that the predictions are, too.
    """
    chosen = np.arange(table.rows) if rows is None else rows
    batches, (rank, world) = _batches_of(table, rows), place()
    was_training = model.training
    model.eval()
    compares = isinstance(model.head(task), ContrastiveHead)
    parts = []
    for turn in range(-(-len(batches) // world)):
        number = turn * world + rank
        # Every rank makes as many passes as any other: ZeRO 3 gathers the weights in each.
        places = batches[min(number, len(batches) - 1)]
        batch = collate(table, chosen[places], pad_id).to(device)
        with torch.no_grad(), autocast(device, precision):
            found = read_texts(model, task, batch) if compares else _read(model, task, model(task, batch))
        parts.append(found if number < len(batches) else tuple(values[:0] for values in found))
    model.train(was_training)
    own = [torch.cat(values).cpu() for values in zip(*parts, strict=True)]
    shares = [np.concatenate(batches[r::world] or [np.empty(0, int)]) for r in range(world)]
    gathered = gather_rows(own, [len(share) for share in shares])
    if gathered is None:
        return None
    order = np.concatenate(shares)
    return (_ranked if compares else _assemble)([_in_order(order, arrays) for arrays in gathered])


@torch.no_grad()
def predict_raw(model: MultitaskModel, task: str, batch: Any, precision: Precision) -> Tensor:
    """Raw outputs (B, outputs) for a batch, in the precision of training."""
    with autocast(batch.input_ids.device, precision):
        raw: Tensor = model(task, batch)
    return raw


def _read(model: MultitaskModel, task: str, raw: Tensor) -> tuple[Tensor, ...]:
    head = model.head(task)
    probabilities = head.probabilities(raw)
    return (head.predict(raw),) if probabilities is None else (head.predict(raw), probabilities)


# By table, and then by the rows asked for: an evaluation cuts as the one before.
_CUT: WeakKeyDictionary[TaskTable, dict[tuple[int, bytes | None], list[np.ndarray]]] = WeakKeyDictionary()


def _batches_of(table: TaskTable, rows: np.ndarray | None) -> list[np.ndarray]:
    """Places among the rows, by batch."""
    known, key = _CUT.setdefault(table, {}), (BATCH_TOKENS, None if rows is None else rows.tobytes())
    if key not in known:
        lengths = np.asarray(table.lengths if rows is None else table.lengths[rows])
        known[key] = _batches(lengths, table.sequences)
    return known[key]


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


def _in_order(order: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    values = np.concatenate(parts)
    ordered = np.empty_like(values)
    ordered[order] = values
    return ordered


def _ranked(found: list[np.ndarray]) -> Evaluation:
    texts, keys = found
    return Evaluation(retrieval_ranks(texts, keys), None)


def _assemble(found: list[np.ndarray]) -> Evaluation:
    predictions, *probabilities = found
    return Evaluation(predictions.astype(np.float64), probabilities[0].astype(np.float32) if probabilities else None)
