"""Nothing that a recipe sets is silently ignored: each field of each part is flipped, and training changes or refuses it."""

import hashlib
import itertools
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cluster.storage.checkpoint import find_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.storage.shard_file import load_weights
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import RunConfig, parse_config
from multitask.config.combination import Method
from multitask.errors import UserError
from tests.builders import merge, tiny_config

Tree = dict[str, Any]


def _phase(**changes: Any) -> Tree:
    return {"phases": [{"sampling": {"name": "round_robin"}, "steps_per_epoch": 3, **changes}]}


def _drawn(epochs: int = 1, **sampling: Any) -> Tree:
    """Tasks of unlike sizes, drawn."""
    few = _task("sst", train_rows=2)
    return _phase(sampling=sampling, epochs=epochs, steps_per_epoch=16) | {"combination": {"name": "sum"}} | few


def _task(task: str, **changes: Any) -> Tree:
    return {"tasks": {task: changes}}


def _pair(features: str = "cosine", **changes: Any) -> Tree:
    return _task("sts", pair_encoding={"name": "bi_encoder", "features": features}, **changes)


def _loss(task: str, **loss: Any) -> Tree:
    return _task(task, loss=loss)


def _texts(**kind: Any) -> Tree:
    columns = {"id": "id", "text": "sentence1", "text_pair": "sentence2", "negative": "id"}
    files = {"train": ["quora-train.csv"]}
    return _task("texts", kind={"name": "contrastive", **kind}, columns=columns, files=files, format="cs224n")


def _optimizer(**changes: Any) -> Tree:
    return {"optimizer": {"name": "adamw", "lr": 1e-3, **changes}}


LORA = {"encoder": {"adapter": {"name": "lora", "rank": 2}}}
PAL = {"encoder": {"adapter": {"name": "projected_attention", "width": 8, "heads": 2}}}
_MOODS = _task("sst", kind={"name": "multi_label"})
_ORDERED = _task("sst", kind={"ordered": True})
_SCALED = _pair(head={"name": "scaled"})
_ANGLE = merge(_SCALED, _loss("sts", name="angle"))
ONE_TASK_A_STEP = _phase(sampling={"name": "round_robin", "tasks_per_step": 1}, steps_per_epoch=14) | {
    "combination": {"name": "sum"}
}
THREE_EPOCHS = _phase(epochs=3, steps_per_epoch=1)

# Model and field → (what both runs have, what the second one has besides).
FLIPS: dict[str, tuple[Tree, Tree]] = {
    "RunConfig.seed": ({}, {"seed": 2}),
    "RunConfig.precision": ({}, {"precision": "autocast"}),
    "EncoderConfig.name": ({}, {"encoder": {"name": "other"}}),
    "EncoderConfig.pooling": ({}, {"encoder": {"pooling": "max"}}),
    "EncoderConfig.dropout": ({}, {"encoder": {"dropout": 0.3}}),
    "HeadDefaults.dropout": ({}, {"head": {"dropout": 0.3}}),
    "EncoderConfig.dropout_key": ({}, {"encoder": {"dropout_key": "rank"}}),
    "EncoderConfig.token_types": ({}, {"encoder": {"token_types": False}}),
    "LoRA.name": ({}, LORA),
    "LoRA.rank": (LORA, {"encoder": {"adapter": {"rank": 3}}}),
    "LoRA.alpha": (LORA, {"encoder": {"adapter": {"alpha": 5}}}),
    "LoRA.dropout": (LORA, {"encoder": {"adapter": {"dropout": 0.5}}}),
    "LoRA.targets": (LORA, {"encoder": {"adapter": {"targets": ["key"]}}}),
    "ProjectedAttention.name": ({}, PAL),
    "ProjectedAttention.width": (PAL, {"encoder": {"adapter": {"width": 12}}}),
    "ProjectedAttention.heads": (PAL, {"encoder": {"adapter": {"heads": 4}}}),
    "Classification.classes": ({}, _task("sst", kind={"classes": 6})),
    "Classification.labels": ({}, _task("sst", kind={"labels": ["4", "3", "2", "1", "0"]})),
    "Binary.labels": ({}, _task("quora", kind={"labels": ["1.0", "0.0"]})),
    "Binary.name": ({}, _task("quora", kind={"name": "binary"})),
    "Regression.low": ({}, _task("sts", kind={"low": -1.0})),
    "Regression.high": ({}, _task("sts", kind={"high": 6.0})),
    "Contrastive.name": ({}, _texts()),
    "Contrastive.temperature": (_texts(), _texts(temperature=0.5)),
    "Contrastive.projection": (_texts(), _texts(projection="mlp")),
    "Columns.text": ({}, _task("quora", columns={"text": "sentence2"})),
    "Columns.text_pair": ({}, _task("quora", columns={"text_pair": "sentence1"})),
    "Columns.negative": (_texts(), _task("texts", columns={"negative": "sentence1"})),
    "Columns.label": ({}, _task("sts", columns={"label": ""})),
    "TaskConfig.files": ({}, _task("sst", files={"train": ["sst-dev.csv"]})),
    "TaskConfig.format": ({}, _task("sst", format="jsonl")),
    "Layout.delimiter": ({}, _task("sst", layout={"delimiter": ","})),
    "TaskConfig.where": ({}, _task("sst", where={"train": {"sentiment": [0, 1]}})),
    "TaskConfig.thresholds": ({}, _task("quora", thresholds=[1.5])),
    "TaskConfig.drop_labels": ({}, _task("sst", drop_labels=["0"])),
    "HoldOut.dev": ({}, _task("sst", files={"train": ["sst-train.csv"], "dev": []}, hold_out={"dev": 0.3})),
    "HoldOut.test": ({}, _task("sst", hold_out={"test": 0.5})),
    "HoldOut.seed": (_task("sst", hold_out={"test": 0.5}), _task("sst", hold_out={"seed": 1})),
    "CrossEncoder.name": ({}, _pair()),
    "BiEncoder.features": (_pair(), _pair("pearson")),
    "LinearHead.dropout": ({}, _task("sst", head={"name": "linear", "dropout": 0.5})),
    "LinearHead.link": ({}, _task("sts", head={"name": "linear", "link": "identity"})),
    "MLPHead.name": ({}, _task("sst", head={"name": "mlp"})),
    "MLPHead.hidden": (_task("sst", head={"name": "mlp"}), _task("sst", head={"hidden": 9})),
    "MLPHead.dropout": (_task("sst", head={"name": "mlp"}), _task("sst", head={"dropout": 0.5})),
    "MLPHead.activation": (_task("sst", head={"name": "mlp"}), _task("sst", head={"activation": "tanh"})),
    "MLPHead.link": (_task("sts", head={"name": "mlp"}), _task("sts", head={"link": "identity"})),
    "ScaledHead.name": (_pair(), _pair(head={"name": "scaled"})),
    "ScaledHead.scale": (_pair(head={"name": "scaled"}), _pair(head={"name": "scaled", "scale": "sigmoid"})),
    "MultiLabel.classes": (_MOODS, _task("sst", kind={"classes": 9})),
    "MultiLabel.labels": (_MOODS, _task("sst", kind={"labels": ["4", "3", "2", "1", "0"]})),
    "MultiLabel.separator": (_MOODS, _task("sst", kind={"separator": "0"})),
    "Classification.ordered": ({}, _task("sst", kind={"ordered": True})),
    "CrossEntropy.class_weights": ({}, _loss("quora", name="cross_entropy", class_weights=[1.0, 3.0])),
    "CrossEntropy.label_smoothing": ({}, _loss("sst", name="cross_entropy", label_smoothing=0.2)),
    "Focal.gamma": (_loss("sst", name="focal"), _loss("sst", gamma=0.5)),
    "Focal.class_weights": (_loss("quora", name="focal"), _loss("quora", class_weights=[1.0, 3.0])),
    "Corn.name": (_ORDERED, _loss("sst", name="corn")),
    "CumulativeLink.name": (_ORDERED, _loss("sst", name="cumulative_link")),
    "Huber.delta": (_loss("sts", name="huber"), _loss("sts", delta=0.3)),
    "CoSENT.scale": (merge(_SCALED, _loss("sts", name="cosent")), _loss("sts", scale=3.0)),
    "AnglE.scale": (_ANGLE, _loss("sts", scale=3.0)),
    "AnglE.cosine_weight": (_ANGLE, _loss("sts", cosine_weight=0.0)),
    "TaskConfig.auxiliary": ({}, _task("sst", auxiliary=True)),
    "TaskConfig.batch_size": ({}, _task("sst", batch_size=4)),
    "TaskConfig.train_rows": ({}, _task("sst", train_rows=20)),
    "TaskConfig.rows_per_pass": ({}, _task("sst", rows_per_pass=7)),
    "TaskConfig.metric": ({}, _task("sst", metric="macro_f1")),
    "DataConfig.max_length": ({}, {"data": {"max_length": 6}}),
    "DataConfig.batch_size": ({}, {"data": {"batch_size": 5}}),
    "DataConfig.pool_batches": ({}, {"data": {"pool_batches": 1}}),
    "PhaseConfig.tasks": ({}, _phase(tasks=["sst", "sts"])),
    "PhaseConfig.epochs": ({}, _phase(epochs=2)),
    "PhaseConfig.steps_per_epoch": ({}, _phase(steps_per_epoch=4)),
    "PhaseConfig.rows_per_epoch": ({}, _phase(steps_per_epoch=None, rows_per_epoch=72)),
    "PhaseConfig.lr": ({}, _phase(lr=5e-4)),
    "PhaseConfig.encoder": ({}, _phase(encoder="frozen")),
    "Sequential.name": (
        {"combination": {"name": "sum"}},
        _phase(sampling={"name": "sequential"}, steps_per_epoch=None),
    ),
    "RoundRobin.tasks_per_step": ({}, _phase(sampling={"name": "round_robin", "tasks_per_step": 2})),
    "ScaledBatchSizes.batches": ({}, _phase(sampling={"name": "scaled_batch_sizes", "batches": 5})),
    "ScaledBatchSizes.largest": ({}, _phase(sampling={"name": "scaled_batch_sizes", "largest": 9})),
    "ScaledBatchSizes.tasks_per_step": (
        _phase(sampling={"name": "scaled_batch_sizes", "batches": 5}),
        _phase(sampling={"name": "scaled_batch_sizes", "batches": 5, "tasks_per_step": 2}),
    ),
    "Proportional.merged_batches": (
        _drawn(name="proportional", merged_batches=2),
        _drawn(name="proportional", merged_batches=3),
    ),
    "Uniform.tasks_per_step": (_drawn(name="uniform"), _drawn(name="uniform", tasks_per_step=2)),
    "SquareRoot.tasks_per_step": (_drawn(name="square_root"), _drawn(name="square_root", tasks_per_step=2)),
    "Temperature.temperature": (_drawn(name="temperature"), _drawn(name="temperature", temperature=90)),
    "Temperature.cap": (_drawn(name="temperature", temperature=1), _drawn(name="temperature", temperature=1, cap=1)),
    "Temperature.tasks_per_step": (_drawn(name="temperature"), _drawn(name="temperature", tasks_per_step=2)),
    "Annealed.start": (_drawn(name="annealed"), _drawn(name="annealed", start=0.0)),
    "Annealed.end": (_drawn(2, name="annealed"), _drawn(2, name="annealed", end=1.0)),
    "Annealed.tasks_per_step": (_drawn(name="annealed"), _drawn(name="annealed", tasks_per_step=2)),
    "DrawnByWeights.draw_weights": (
        _drawn(name="draw_weights", draw_weights={"sst": 1, "quora": 1, "sts": 1}),
        _drawn(name="draw_weights", draw_weights={"sst": 9, "quora": 1, "sts": 1}),
    ),
    "DrawnByWeights.tasks_per_step": (
        _drawn(name="draw_weights", draw_weights={"sst": 1, "quora": 1, "sts": 1}),
        _drawn(name="draw_weights", draw_weights={"sst": 1, "quora": 1, "sts": 1}, tasks_per_step=2),
    ),
    "Sum.name": ({}, {"combination": {"name": "sum"}}),
    "SizeWeighted.name": ({"combination": {"name": "sum"}}, {"combination": {"name": "size_weighted"}}),
    "LossWeights.loss_weights": (
        {"combination": {"name": "sum"}},
        {"combination": {"name": "loss_weights", "loss_weights": {"sst": 3, "quora": 1, "sts": 1}}},
    ),
    "PCGrad.groups": ({}, {"combination": {"groups": [["sst", "quora"], ["sts"]]}}),
    "PCGrad.scope": ({}, {"combination": {"scope": "all"}}),
    "PCGrad.reduction": ({}, {"combination": {"reduction": "mean"}}),
    "Smart.weight": ({}, {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}}),
    "Smart.noise": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"noise": 0.1}}},
    ),
    "Smart.step_size": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"step_size": 0.2}}},
    ),
    "Smart.steps": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"steps": 2}}},
    ),
    "Smart.adversary": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"adversary": "mt_dnn"}}},
    ),
    "Smart.norm_level": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"norm_level": "row"}}},
    ),
    "Smart.radius": (
        {"regularization": {"smart": {"weight": 5.0, "step_size": 0.1}}},
        {"regularization": {"smart": {"radius": 0.03}}},
    ),
    "Bregman.weight": (
        {"regularization": {"bregman": {"weight": 1.0}}},
        {"regularization": {"bregman": {"weight": 9.0}}},
    ),
    "Bregman.momentum": (
        {"regularization": {"bregman": {"weight": 9.0}}},
        {"regularization": {"bregman": {"momentum": 0.1}}},
    ),
    "Bregman.early_momentum": (
        {"regularization": {"bregman": {"weight": 9.0, "early": 1.0}}},
        {"regularization": {"bregman": {"early_momentum": 0.1}}},
    ),
    "Bregman.early": (
        {"regularization": {"bregman": {"weight": 9.0, "early_momentum": 0.1}}},
        {"regularization": {"bregman": {"early": 1.0}}},
    ),
    "RDrop.task_loss": ({"regularization": {"r_drop": {}}}, {"regularization": {"r_drop": {"task_loss": "sum"}}}),
    "RDrop.weight": ({"regularization": {"r_drop": {}}}, {"regularization": {"r_drop": {"weight": 4.0}}}),
    "AdamW.lr": ({}, _optimizer(lr=2e-3)),
    "AdamW.weight_decay": ({}, _optimizer(weight_decay=0.5)),
    "AdamW.layer_decay": ({}, _optimizer(layer_decay=0.5)),
    "AdamW.per_task": (ONE_TASK_A_STEP, _optimizer(per_task=True)),
    "AdamW.betas": ({}, _optimizer(betas=[0.5, 0.9])),
    "AdamW.eps": ({}, _optimizer(eps=1e-2)),
    "AdamW.eps_hat": ({}, _optimizer(eps_hat=True)),
    "LibraryOptimizer.name": ({}, _optimizer(name="lamb")),
    "LibraryOptimizer.lr": (_optimizer(name="lamb"), _optimizer(lr=2e-3, name="lamb")),
    "LibraryOptimizer.weight_decay": (_optimizer(name="lamb"), _optimizer(weight_decay=0.9, name="lamb")),
    "LibraryOptimizer.layer_decay": (_optimizer(name="lamb"), _optimizer(layer_decay=0.5, name="lamb")),
    "LibraryOptimizer.per_task": (ONE_TASK_A_STEP | _optimizer(name="lamb"), _optimizer(per_task=True, name="lamb")),
    "LibraryOptimizer.options": (
        _optimizer(name="lamb"),
        _optimizer(name="lamb", options={"betas": [0.5, 0.9]}),
    ),
    "LibraryOptimizer.decay": (
        _optimizer(name="adamax", weight_decay=0.9),
        _optimizer(name="adamax", weight_decay=0.9, decay="library"),
    ),
    "ScheduleConfig.warmup": ({}, {"schedule": {"warmup": 0.9}}),
    "ScheduleConfig.decay": ({}, {"schedule": {"decay": "constant"}}),
    "ScheduleConfig.per": (
        {"phases": [{"steps_per_epoch": 2}, {"steps_per_epoch": 2}]},
        {"schedule": {"per": "phase"}},
    ),
    "TrainingConfig.clip_norm": ({}, {"training": {"clip_norm": 1e-3}}),
    "TrainingConfig.evaluate_every": ({}, {"training": {"evaluate_every": 1}}),
    "TrainingConfig.evaluate_rows": ({}, {"training": {"evaluate_rows": 18}}),
    "TrainingConfig.evaluate_before": ({}, {"training": {"evaluate_before": True}}),
    "TrainingConfig.score_train_rows": ({}, {"training": {"score_train_rows": 5}}),
    "TrainingConfig.save_every": ({}, {"training": {"save_every": 1}}),
    "TrainingConfig.selection": (THREE_EPOCHS, {"training": {"selection": "dev/sst/accuracy"}}),
    "TrainingConfig.patience": (
        _phase(epochs=5, steps_per_epoch=1) | _optimizer(lr=1e-9),
        {"training": {"patience": 1}},
    ),
    "TrainingConfig.stop_after": ({}, {"training": {"stop_after": 2}}),
    "TrainingConfig.log_every": ({}, {"training": {"log_every": 1}}),
    "TrainingConfig.layer_conflicts_every": (
        {"combination": {"name": "pcgrad"}},
        {"training": {"layer_conflicts_every": 2}},
    ),
}

# What changes no result by design, or has a test of its own; the reason is part of the contract.
EXEMPT = {
    "RunConfig": {"name", "description", "source", "cluster", "tracking", "zero"},
    "Columns": {"id"},
    # What an encoder needs: tests/unit/multitask/test_encoder_families.py, test_encoder_files.py; how it computes: test_attention.py.
    "EncoderConfig": {"attention", "checkpointing", "padding", "resize_embeddings"},
    # How files are read: tests/unit/multitask/data.
    "DataConfig": {"root", "cache", "on_bad_rows", "bad_rows_limit", "special_tokens"},
    "Layout": {"encoding", "quoting", "header", "comment", "decimal"},
    # How passes are computed: tests/unit/step/test_compile.py, tests/unit/multitask/test_products.py, test_determinism.py.
    "TrainingConfig": {
        "accumulation",
        "check_every",
        "compile",
        "deterministic",
        "max_tokens_per_micro_batch",
        "non_finite_limit",
        "tf32",
    },
}
_WATCHERS = {"ClusterConfig", "TrackingConfig", "SourceConfig", "ZeroConfig"}


@pytest.fixture(scope="module")
def session() -> Iterator[LocalSession]:
    session = LocalSession("cpu")
    yield session
    session.close()


class _Trainer:
    """Trains trees and tells what came out as one hash; the same tree is trained once."""

    def __init__(self, folder: Path, bert: Path, other: Path, session: LocalSession) -> None:
        self.folder, self.session = folder, session
        self._encoders = {"tiny": str(bert), "other": str(other)}
        self._numbers = itertools.count()
        self._known: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._weights: dict[str, str] = {}

    def weights(self, *changes: Tree) -> str:
        """Hash of the final weights of a tree that has been trained."""
        return self._weights[self._names[json.dumps(self._tree(*changes), sort_keys=True)]]

    def _tree(self, *changes: Tree) -> Tree:
        tree = tiny_config(self.folder, encoder={"name": "tiny", "dropout": 0.1}, **_phase())
        for change in changes:
            tree = merge(tree, change)
        tree["encoder"]["name"] = self._encoders[tree["encoder"]["name"]]
        return tree

    def __call__(self, *changes: Tree) -> str:
        tree = self._tree(*changes)
        key = json.dumps(tree, sort_keys=True)
        if key not in self._known:
            tree["name"] = self._names[key] = f"run{next(self._numbers)}"
            self._known[key] = self._train(parse_config(tree, "test"))
        return self._known[key]

    def _train(self, config: RunConfig) -> str:
        train(config, self.session)
        folder = RunFolder.of(config)
        newest, _ = find_checkpoint(folder.storage)
        assert newest is not None
        digest = hashlib.sha256()
        for name, weights in sorted(load_weights(folder.storage, newest).items()):
            digest.update(name.encode() + weights.numpy().tobytes())
        self._weights[config.name] = digest.hexdigest()
        result, history = folder.result(), folder.read_json("history.json")
        assert result is not None
        assert history is not None
        told = [result[key] for key in ("steps", "step", "history", "baseline", "best_step", "best_score")]
        told += [folder.storage.folders("checkpoints"), [point.get("step") for point in history["train"]]]
        told.append(sorted({key for point in history["train"] for key in point if "layer_cosine" in key}))
        digest.update(json.dumps(told).encode())
        return digest.hexdigest()


@pytest.fixture(scope="module")
def trained(folder: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory, session: LocalSession) -> _Trainer:
    from tests.builders import build_tiny_bert

    other = build_tiny_bert(tmp_path_factory.mktemp("other"), seed=9)
    return _Trainer(folder, tiny_bert, other, session)


@pytest.mark.parametrize("field", list(FLIPS))
def test_flipped_field_changes_the_run_or_is_refused(field: str, trained: _Trainer) -> None:
    base, flip = FLIPS[field]
    before = trained(base)
    try:
        after = trained(base, flip)
    except UserError:
        return
    if field == "Binary.name":
        assert after == before
    else:
        assert after != before, f"{field}: {flip} changed nothing"


def _fields() -> dict[str, set[str]]:
    """Model name to its fields, of every model below `RunConfig` that training reads; nested models are their own."""
    found: dict[str, set[str]] = {}
    open_models: list[object] = [RunConfig]
    while open_models:
        for model in _models(open_models.pop()):
            if model.__name__ in found or model.__name__ in _WATCHERS:
                continue
            if issubclass(model, Method):
                continue  # tests/unit/multitask/combination/test_fields.py
            found[model.__name__] = set()
            for name, field in model.model_fields.items():
                nested = _models(field.annotation)
                open_models += nested
                if not nested:
                    found[model.__name__].add(name)
    return found


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    arguments = typing.get_args(annotation) if isinstance(annotation, types.GenericAlias | types.UnionType) else ()
    arguments = arguments or typing.get_args(annotation)
    return [model for argument in arguments for model in _models(argument)]


@pytest.mark.parametrize(
    "watching",
    [
        {"training": {"log_every": 1}},
        {"training": {"evaluate_every": 1}},
        {"training": {"save_every": 1}},
        {"training": {"evaluate_before": True}},
        {"training": {"score_train_rows": 5}},
        {"training": {"layer_conflicts_every": 1}},
        {"tracking": {"tags": ["a"]}},
    ],
)
def test_watching_changes_no_weight(watching: Tree, trained: _Trainer) -> None:
    """A public minBERT reuses a loop's variable for its logging, and every 100 steps surgery gets one task twice."""
    trained({})
    trained(watching)
    assert trained.weights(watching) == trained.weights({})


def test_every_field_is_flipped_or_named_as_without_effect() -> None:
    for model, fields in _fields().items():
        flipped = {key.split(".")[1] for key in FLIPS if key.split(".")[0] == model}
        # A union's other member is one flip of the choice itself.
        missing = fields - flipped - EXEMPT.get(model, set()) - {"name"}
        assert not missing, f"{model}: {sorted(missing)}"
        unknown = flipped - fields
        assert not unknown, f"{model}: {sorted(unknown)}"
