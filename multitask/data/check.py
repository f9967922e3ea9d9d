"""What `concord data check` tells: every split read, validated and measured, nothing trained."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from multitask.config import SPLITS, RunConfig
from multitask.config.files import is_dev
from multitask.config.kind import Kind, MultiLabel
from multitask.data.encoding import pairing_of, uncut_lengths
from multitask.data.reading import SplitStream
from multitask.data.schema import BadRow
from multitask.data.tokenizer import load_tokenizer
from multitask.errors import UserError
from multitask.label_sets import set_indicators

_QUANTILES = {"minimum": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "maximum": 1.0}


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of a row before cutting, special ones included (of the longest of several sequences), and how many rows
    `data.max_length` cuts.
    """

    minimum: int
    median: float
    p95: float
    maximum: int
    truncated: int


@dataclass(frozen=True)
class SplitReport:
    """One split of one task.

    `dropped`: rows left out by `drop_labels`, by label. `repeated_ids`: rows with the id of an earlier one.
    `label_counts`: rows by class; `label_quantiles`: of a regression's labels; both None without labels. `duplicates`: rows
    that repeat an earlier row's text, or pair in the same order. `train_overlap`: rows whose text, or pair in the same order,
    is also in train; `train_overlap_swapped`: further rows whose pair is there the other way round. Both None for train.
    """

    task: str
    split: str
    files: tuple[str, ...]
    rows: int
    bad_rows: tuple[BadRow, ...]
    dropped: dict[str, int]
    repeated_ids: int
    label_counts: dict[str, int] | None
    label_quantiles: dict[str, float] | None
    token_lengths: TokenLengths
    duplicates: int
    train_overlap: int | None
    train_overlap_swapped: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check(config: RunConfig, splits: Sequence[str] = SPLITS) -> list[SplitReport]:
    """Read and measure these splits of every task.

    Raises:
        UserError: whatever is wrong in any of them or with the encoder's tokenizer, one line each.
    """
    problems: list[str] = []
    reports: list[SplitReport] = []
    tokenizer = None
    try:
        tokenizer = load_tokenizer(config.encoder.name)
    except UserError as error:
        problems.append(str(error))
    for task, declared in config.tasks.items():
        train: set[bytes] | None = None
        named = {split for split, files in declared.files.items() if files}
        ordered = [*SPLITS, *(split for split in declared.dev_sets if split not in SPLITS)]
        for split in (split for split in ordered if (is_dev(split) and "dev" in splits) or split in splits):
            if split not in named:
                continue
            try:
                stream = SplitStream(config, task, split)
                tally = _count(stream, config, tokenizer, train)
            except UserError as error:
                problems.append(str(error))
                continue
            train = tally.seen if split == "train" else train
            if tokenizer is not None:
                reports.append(_report(task, split, stream, tally, config.data.max_length))
    if problems:
        raise UserError("\n".join(problems))
    return reports


class _Tally:
    """What is kept of a split while it streams by: two numbers and a digest a row."""

    def __init__(self, train: set[bytes] | None) -> None:
        self.lengths: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.seen: set[bytes] = set()
        self.duplicates = self.overlap = self.swapped = 0
        self.train = train

    def add(self, text: str, text_pair: str | None) -> None:
        digest = _digest(text, text_pair)
        self.duplicates += digest in self.seen
        self.seen.add(digest)
        if self.train is None:
            return
        if digest in self.train:
            self.overlap += 1
        elif text_pair is not None and _digest(text_pair, text) in self.train:
            self.swapped += 1


def _count(
    stream: SplitStream,
    config: RunConfig,
    tokenizer: PreTrainedTokenizerFast | None,
    train: set[bytes] | None,
) -> _Tally:
    tally = _Tally(train)
    for batch in stream.batches():
        texts = list(zip(*(batch.column(c).to_pylist() for c in ("text", "text_pair", "negative")), strict=True))
        for first, second, _ in texts:
            tally.add(first, second)
        tally.labels.append(batch.column("label").drop_null().to_numpy())
        if tokenizer is not None:
            tally.lengths.append(uncut_lengths(tokenizer, texts, pairing_of(stream.task), config.data.special_tokens))
    return tally


def _report(task: str, split: str, stream: SplitStream, tally: _Tally, max_length: int) -> SplitReport:
    lengths, labels = np.concatenate(tally.lengths), np.concatenate(tally.labels)
    classes = stream.task.kind.classes
    counts = _class_counts(stream.task.kind, labels) if classes and len(labels) else None
    measured = not classes and len(labels)
    repeated = stream.repeated_ids()
    return SplitReport(
        task=task,
        split=split,
        files=stream.files,
        rows=len(lengths),
        bad_rows=tuple(stream.bad_rows),
        dropped=dict(stream.dropped),
        repeated_ids=repeated.rows if repeated else 0,
        label_counts=None if counts is None else {str(label): int(count) for label, count in enumerate(counts)},
        label_quantiles={name: float(np.quantile(labels, q)) for name, q in _QUANTILES.items()} if measured else None,
        token_lengths=_token_lengths(lengths, max_length),
        duplicates=tally.duplicates,
        train_overlap=None if tally.train is None else tally.overlap,
        train_overlap_swapped=None if tally.train is None else tally.swapped,
    )


def _class_counts(kind: Kind, labels: np.ndarray) -> np.ndarray:
    if isinstance(kind, MultiLabel):
        return set_indicators(labels, kind.classes).sum(0)
    return np.bincount(labels.astype(int), minlength=kind.classes)


def _token_lengths(lengths: np.ndarray, max_length: int) -> TokenLengths:
    return TokenLengths(
        minimum=int(lengths.min()),
        median=float(np.median(lengths)),
        p95=float(np.quantile(lengths, 0.95)),
        maximum=int(lengths.max()),
        truncated=int((lengths > max_length).sum()),
    )


def _digest(text: str, text_pair: str | None) -> bytes:
    # Texts hold no NUL: validation refuses it.
    joined = text if text_pair is None else f"{text}\0{text_pair}"
    return hashlib.blake2b(joined.encode(), digest_size=16).digest()
