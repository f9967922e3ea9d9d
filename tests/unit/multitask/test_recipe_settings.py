"""What makes each recipe the row of its paper that it is, as the issue and the papers tell it."""

from typing import Any

import pytest

from multitask.config import RunConfig, list_recipes, load_recipe
from multitask.sampling import task_sizes

SST, QUORA, STS = "tasks.sst", "tasks.quora", "tasks.sts"
PAIRS = (QUORA, STS)
ALL = {"name": "round_robin", "tasks_per_step": "all"}
THREE = {f"{SST}.batch_size": 2, f"{QUORA}.batch_size": 24, f"{STS}.batch_size": 2}
FINE_TUNED = {
    "optimizer.lr": 1e-5,
    "encoder.dropout": 0.1,
    "head.dropout": 0.3,
    "encoder.token_types": False,
    "phases.0.encoder": "trained",
}
WIKI = {"tasks.wiki.kind": {"name": "contrastive", "temperature": 0.05, "projection": "none"}}
REVIEW = {"tasks.review.auxiliary": True, "tasks.review.train_rows": 2500, "tasks.review.kind.classes": 5}
CROSS = {f"{task}.pair_encoding.name": "cross_encoder" for task in PAIRS}
COSINE = {
    **{f"{task}.pair_encoding.features": "cosine" for task in PAIRS},
    "phases.0.sampling.largest": 64,
}
SIAR = {**COSINE, "regularization.smart.weight": 0.01}
# What the ports of surgery do by default: W.-C. Tseng's, and A. Nzeyimana's adaptation of it.
TSENG = {"combination.name": "pcgrad", "combination.scope": "all", "combination.reduction": "mean"}
NZEYIMANA = {"combination.name": "pcgrad", "combination.scope": "all", "combination.reduction": "sum"}


def _scaled(features: str, scale: str) -> dict[str, Any]:
    return {f"{STS}.pair_encoding.features": features, f"{STS}.head": {"name": "scaled", "scale": scale}}


PEARS_WL = {**_scaled("pearson", "sigmoid"), "combination.name": "size_weighted", "phases.0.epochs": 10}
# What makes a row what it is.
SETTINGS: dict[str, dict[str, Any]] = {
    "a-bert": {**FINE_TUNED, "phases.0.tasks": ["sst"], "phases.0.epochs": 10},
    "a-cos-wl": {**FINE_TUNED, **_scaled("cosine", "sigmoid"), "combination.name": "size_weighted"},
    "a-cos-grad": {
        **FINE_TUNED,
        **_scaled("cosine", "sigmoid"),
        "combination.name": "pcgrad",
        "phases.0.sampling": ALL,
    },
    "a-pears-wl": {**FINE_TUNED, **_scaled("pearson", "sigmoid"), "combination.name": "size_weighted"},
    "a-pears-grad": {
        **FINE_TUNED,
        **_scaled("pearson", "sigmoid"),
        f"{QUORA}.pair_encoding": {"name": "bi_encoder", "features": "concat"},
        f"{QUORA}.head.name": "linear",
        "combination.name": "pcgrad",
        "phases.0.epochs": 10,
    },
    "a-pears-wl-epochs-20": {**FINE_TUNED, **PEARS_WL, "phases.0.epochs": 20},
    "a-pears-wl-lr-1e-3": {**FINE_TUNED, **PEARS_WL, "optimizer.lr": 1e-3},
    "a-pears-wl-lr-1e-7": {**FINE_TUNED, **PEARS_WL, "optimizer.lr": 1e-7},
    "a-pears-wl-dropout-04": {**FINE_TUNED, **PEARS_WL, "head.dropout": 0.4},
    "b-baseline": {**FINE_TUNED, "phases.0.tasks": ["sst"]},
    "b-pretrain": {"phases.0.encoder": "frozen", "optimizer.lr": 1e-3, "phases.0.sampling.largest": 64},
    "b-basic": {
        **FINE_TUNED,
        f"{STS}.pair_encoding.features": "concat",
        "phases.0.sampling": {"name": "scaled_batch_sizes", "batches": None, "largest": 64, "tasks_per_step": 1},
    },
    "b-cosine": {**FINE_TUNED, **COSINE, "regularization.smart": None},
    "b-cosine-siar": {**FINE_TUNED, **SIAR, "phases.0.epochs": 10},
    "b-cosine-siar-adamw": {**SIAR, "phases.0.epochs": 1, "optimizer.name": "adamw", "optimizer.lr": 1e-5},
    "b-cosine-siar-adamax": {**SIAR, "phases.0.epochs": 1, "optimizer.name": "adamax", "optimizer.lr": 1e-5},
    "b-cosine-siar-qhadam": {
        **SIAR,
        "phases.0.epochs": 1,
        "optimizer.name": "qhadam",
        "optimizer.options.nus": [0.7, 1.0],
    },
    "b-cosine-siar-lamb": {**SIAR, "phases.0.epochs": 1, "optimizer.name": "lamb", "optimizer.lr": 1e-4},
    "b-cosine-siar-lamb-1e-5": {**SIAR, "phases.0.epochs": 1, "optimizer.name": "lamb", "optimizer.lr": 1e-5},
    "b-progress": {**FINE_TUNED, **COSINE, "training.score_train_rows": 1000},
    "b-cfimdb": {
        "tasks.cfimdb.files.train": ["ids-cfimdb-train.csv"],
        "tasks.cfimdb.auxiliary": False,
        "data.max_length": 512,
        "phases.0.sampling.largest": 64,
    },
    "b-bregman": {
        # Jiang et al. 2020: μ = 1; β = .99 for the first tenth of the updates, .999 for the rest.
        "regularization.bregman": {"weight": 1.0, "momentum": 0.999, "early_momentum": 0.99, "early": 0.1},
        "regularization.smart": None,
    },
    "b-contrastive": {"tasks.duplicates.kind.name": "contrastive", "phases.0.sampling.largest": 64},
    "c-baseline": {
        **FINE_TUNED,
        "data.batch_size": 64,
        **{f"{task}.pair_encoding.features": "concat" for task in PAIRS},
        **{f"{task}.head.name": "mlp" for task in PAIRS},
        f"{STS}.head.link": "identity",
        "phases.0.steps_per_epoch": 500,
        "phases.0.epochs": 10,
        "combination.name": "sum",
    },
    "c-cosine": {**FINE_TUNED, **_scaled("cosine", "plain"), f"{QUORA}.head.name": "mlp"},
    "c-b1": {**FINE_TUNED, **CROSS, "data.batch_size": 64, "phases.0.steps_per_epoch": 500, "combination.name": "sum"},
    "c-b1-pcgrad": {**CROSS, **NZEYIMANA, "phases.0.sampling": ALL},
    "c-b2": {
        **CROSS,
        **NZEYIMANA,
        "phases.0.tasks": ["quora"],
        "phases.0.epochs": 2,
        "phases.0.steps_per_epoch": None,
        "phases.1.tasks": None,
        "phases.1.sampling": ALL,
        "phases.1.epochs": 10,
        "phases.1.steps_per_epoch": 500,
    },
    "c-simcse": {
        **CROSS,
        **WIKI,
        **NZEYIMANA,
        "phases.0.tasks": ["wiki"],
        "phases.0.lr": 3e-5,
        "phases.0.epochs": 1,
        "phases.1.tasks": ["sst", "quora", "sts"],
        "phases.1.lr": None,
        "phases.1.steps_per_epoch": 500,
    },
    "c-b3": {
        **CROSS,
        **WIKI,
        **NZEYIMANA,
        "phases.0.tasks": ["wiki"],
        "phases.0.lr": 3e-5,
        "phases.1.tasks": ["quora"],
        "phases.1.epochs": 2,
        "phases.2.tasks": ["sst", "quora", "sts"],
        "phases.2.epochs": 10,
    },
    "c-variable-batch": {**CROSS, "phases.0.sampling.batches": 500, "phases.0.sampling.largest": None},
    "c-annealed": {**CROSS, "phases.0.sampling": {"name": "annealed", "start": 1.0, "end": 0.2, "tasks_per_step": 1}},
    "d-sst": {**FINE_TUNED, "phases.0.tasks": ["sst"], "training.selection": "dev/sst/accuracy", "data.batch_size": 8},
    "d-quora": {f"{QUORA}.pair_encoding.name": "cross_encoder", "phases.0.tasks": ["quora"]},
    "d-sts": {**_scaled("cosine", "relu"), "phases.0.tasks": ["sts"], "training.selection": "dev/sts/pearson"},
    "d-sum": {
        **FINE_TUNED,
        **_scaled("cosine", "relu"),
        f"{QUORA}.pair_encoding.name": "cross_encoder",
        "data.batch_size": 8,
        "combination.name": "sum",
        "phases.0.sampling": ALL,
        "phases.0.epochs": 10,
    },
    "d-surgery": {**_scaled("cosine", "relu"), **TSENG, "encoder.pooling": "pooler"},
    "d-surgery-mean": {**_scaled("cosine", "relu"), **TSENG, "encoder.pooling": "mean"},
    "d-test": {
        **_scaled("cosine", "relu"),
        "combination.name": "pcgrad",
        "encoder.pooling": "mean",
        "phases.0.epochs": 9,
        "data.batch_size": 16,
    },
    "d-mnrl": {"tasks.duplicates.kind.name": "contrastive", **TSENG},
    "e-pretrain": {
        **CROSS,
        "phases.0.encoder": "frozen",
        "optimizer.lr": 1e-3,
        "data.batch_size": 32,
        "head.dropout": 0.3,
    },
    "e-seq": {
        **FINE_TUNED,
        **CROSS,
        "phases.0.tasks": ["quora", "sst", "sts"],
        "phases.0.sampling.name": "sequential",
        "optimizer.per_task": True,
        "schedule.decay": "linear",
        "data.batch_size": 32,
    },
    "e-mix": {
        **FINE_TUNED,
        **CROSS,
        **THREE,
        "phases.0.sampling": ALL,
        "combination.name": "sum",
        "phases.0.epochs": 10,
    },
    "e-mix-05": {**CROSS, **THREE, "head.dropout": 0.5, "combination.name": "sum"},
    "e-mix-surgery": {**FINE_TUNED, **CROSS, **THREE, **TSENG, "combination.groups": None},
    "e-mix-surgery-05": {**CROSS, **THREE, "head.dropout": 0.5, **TSENG},
    "e-mix-aux": {**FINE_TUNED, **CROSS, **THREE, **REVIEW, "tasks.review.batch_size": 2, "combination.name": "sum"},
    "e-mix-aux-05": {**CROSS, **THREE, **REVIEW, "head.dropout": 0.5},
    "e-abstract": {**CROSS, **THREE, "head.dropout": 0.5, "combination.name": "pcgrad"},
    "e-cosine-mean": {
        f"{QUORA}.pair_encoding.features": "cosine",
        "encoder.pooling": "mean",
        "phases.0.tasks": ["quora"],
        "phases.0.encoder": "frozen",
        "optimizer.lr": 1e-3,
    },
    "e-aux-surgery4": {**CROSS, **THREE, **REVIEW, **TSENG, "combination.groups": None},
    "e-aux-surgery2": {**THREE, **REVIEW, **TSENG, "combination.groups": [["sst", "quora", "sts"], ["review"]]},
    "extra-tasks": {
        "tasks.mrpc.auxiliary": True,
        "tasks.rte.kind.labels": ["not_entailment", "entailment"],
        "tasks.cola.metric": "macro_f1",
    },
    "lora": {"encoder.adapter.name": "lora", "encoder.adapter.rank": 8},
    "projected-attention": {"encoder.adapter.name": "projected_attention"},
    "gradual-unfreezing": {"phases.0.encoder": "gradual", "phases.0.epochs": 8, "optimizer.layer_decay": 0.9},
    "simcse-supervised": {"tasks.nli.columns.negative": "hard_neg", "phases.0.tasks": ["nli"]},
    "mnrl": {"tasks.duplicates.columns.text_pair": "sentence2", "tasks.duplicates.batch_size": 64},
}


def _value(config: RunConfig, path: str) -> object:
    node: Any = config.to_dict()
    for key in path.split("."):
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node


def test_every_recipe_that_has_a_source_is_told_of() -> None:
    assert set(SETTINGS) == {recipe for recipe in list_recipes() if load_recipe(recipe).source is not None}


@pytest.mark.parametrize("recipe", sorted(SETTINGS))
def test_recipe_sets_what_its_row_says(recipe: str) -> None:
    config = load_recipe(recipe)
    assert {path: _value(config, path) for path in SETTINGS[recipe]} == SETTINGS[recipe]


@pytest.mark.parametrize("recipe", [r for r in list_recipes() if r[1] == "-"])
def test_rows_start_from_what_minbert_is(recipe: str) -> None:
    config = load_recipe(recipe)
    assert config.encoder.pooling == ("mean" if recipe in ("d-surgery-mean", "d-test", "e-cosine-mean") else "pooler")
    assert not config.encoder.token_types
    assert config.encoder.dropout == 0.1
    assert config.head.dropout == (SETTINGS[recipe].get("head.dropout") or 0.3)
    assert config.schedule.warmup == 0
    assert config.schedule.decay == ("linear" if recipe == "e-seq" else "constant")
    assert config.optimizer.weight_decay == 0
    assert config.data.pool_batches == 1
    assert getattr(config.optimizer, "eps_hat", True)
    assert load_recipe(recipe, ["encoder.name=bert-base-uncased"]).encoder.name == "bert-base-uncased"


def test_rows_that_differ_in_one_thing_differ_in_nothing_else() -> None:
    for first, second, changed in (
        ("a-cos-wl", "a-cos-grad", {"combination"}),
        ("a-cos-grad", "a-pears-grad", {"tasks"}),
        ("b-cosine", "b-cosine-siar", {"regularization"}),
        ("b-cosine-siar-adamw", "b-cosine-siar-lamb", {"optimizer"}),
        ("c-baseline", "c-cosine", {"tasks"}),
        ("c-b1", "c-b1-pcgrad", {"combination"}),
        ("c-b1-pcgrad", "c-b2", {"phases"}),
        ("c-simcse", "c-b3", {"phases"}),
        ("d-sum", "d-surgery", {"combination"}),
        ("d-surgery", "d-surgery-mean", {"encoder"}),
        ("e-mix", "e-mix-05", {"head"}),
        ("e-mix", "e-mix-surgery", {"combination"}),
        ("e-mix", "e-mix-aux", {"tasks"}),
        ("e-aux-surgery4", "e-aux-surgery2", {"combination"}),
        ("a-pears-wl", "a-pears-wl-epochs-20", {"phases"}),
        ("a-pears-wl", "a-pears-wl-dropout-04", {"head"}),
        ("d-surgery-mean", "d-test", {"data", "tasks", "phases"}),
    ):
        one, other = load_recipe(first).trajectory(), load_recipe(second).trajectory()
        assert {key for key in one if one[key] != other[key]} == changed, (first, second)


@pytest.mark.parametrize(("recipe", "batches"), [("d-sum", 672), ("d-mnrl", 672), ("d-test", 336)])
def test_sets_of_paper_d_have_as_many_batches_and_those_of_sts_are_enlarged(recipe: str, batches: int) -> None:
    config = load_recipe(recipe)
    sizes = task_sizes(config, 0, {"sst": 8544, "quora": 71692, "sts": 6040, "duplicates": 47066})
    assert {size.batches for size in sizes.values()} == {batches}
    assert sizes["sst"].batch_size == sizes["quora"].batch_size < sizes["sts"].batch_size
    assert config.tasks["sts"].rows_per_pass is None, "all data were being used"
    assert batches < 755 if config.data.batch_size == 8 else batches < 378
