"""The spaces that the project ships, around the recipes that it ships."""

from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, list_recipes, load_recipe
from multitask.config.combination import LossWeights
from multitask.config.consistency import tasks_in_one_step
from multitask.config.head import BiEncoder
from multitask.config.sampling import Annealed, DrawnByWeights, RoundRobin, ScaledBatchSizes, Temperature
from multitask.errors import UserError
from tune_spaces import check_space, open_space, shipped_spaces

SPACES = {
    "default",
    "learning_rate",
    "sampling",
    "combination",
    "encodings",
    "losses",
    "paper_a_hyperparameters",
    "paper_b_optimizers",
    "population",
}
DRAWN = {"uniform", "square_root", "temperature", "annealed", "draw_weights"}
# Combinations that may train one task in a step, and those that compare several.
ALONE = {"sum", "size_weighted", "loss_weights", "random", "uncertainty", "imtl_l", "dwa"}
COMPARING = {
    *("famo", "geometric_mean", "stch", "pcgrad", "gradvac", "cagrad", "mgda", "aligned_mtl", "imtl_g", "nash_mtl"),
    *("fairgrad", "upgrad", "dualproj", "config", "sdmgrad", "gradnorm", "normalized", "graddrop"),
}
COMBINATION_PARAMETERS = {
    *("uncertainty.lr", "imtl_l.lr", "dwa.temperature", "famo.lr", "stch.mu", "gradvac.beta", "cagrad.c"),
    *("fairgrad.alpha", "sdmgrad.lambda_", "gradnorm.alpha", "graddrop.leak"),
}
STRATEGIES = DRAWN | {"round_robin", "scaled_batch_sizes", "proportional"}


def configs(space: str, base: RunConfig, count: int = 200, **fixed: Any) -> list[tuple[dict[str, Any], RunConfig]]:
    opened = open_space(space, base, {key.replace("__", "."): value for key, value in fixed.items()})
    generator = np.random.default_rng(0)
    samples = [opened.draw(generator) for _ in range(count)]
    return [(sample, opened.config(base, sample)) for sample in samples]


def names(space: str, base: RunConfig, parameter: str) -> set[Any]:
    own = open_space(space, base).parameters.get(parameter)
    return set(own.values or ()) if own else set()


def test_every_space_says_what_it_answers() -> None:
    assert set(shipped_spaces()) == SPACES
    assert all(about.endswith("?") for about in shipped_spaces().values())


@pytest.mark.parametrize("space", sorted(SPACES))
def test_every_sample_around_the_main_recipe_can_be_trained(space: str) -> None:
    base = load_recipe("main")
    assert all(isinstance(config, RunConfig) for _, config in configs(space, base))


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_space_passes_its_check_around_every_recipe_that_trains_several_tasks(recipe: str) -> None:
    base = load_recipe(recipe)
    one_task = all(len(base.phase_tasks(index)) == 1 for index in range(len(base.phases)))
    for name in sorted(SPACES):
        if one_task and name in ("sampling", "combination"):
            with pytest.raises(
                UserError, match=f"every phase of recipe {recipe} trains one task, so there is no {name}"
            ):
                open_space(name, base)
            continue
        space = open_space(name, base)
        check_space(space, base)
        space.config(base, space.draw(np.random.default_rng(0)))


@pytest.mark.parametrize("recipe", list_recipes())
@pytest.mark.parametrize("name", ["default", "sampling", "combination", "encodings", "losses", "population"])
def test_a_recipe_that_a_space_has_is_made_by_its_own_sample(recipe: str, name: str) -> None:
    base = load_recipe(recipe)
    try:
        space = open_space(name, base)
    except UserError:
        return
    sample = space.sample_of(base)
    # Sequential, a number of batches instead of the largest batch: the spaces do not search them, nor a rate of 1e-7.
    others = {"e-seq", "e-pretrain", "c-variable-batch"}
    beyond = recipe == "a-pears-wl-lr-1e-7" and name in ("default", "population")
    assert (sample is None) == (beyond or (recipe in others and name in ("default", "sampling")))
    if sample is not None:
        made, own = space.config(base, sample).to_dict(), base.to_dict()
        weights = [tree["combination"].pop("loss_weights", {}) for tree in (made, own)]
        assert weights[0] == pytest.approx(weights[1])
        assert made == own


def test_the_default_space_of_the_main_recipe_by_hand() -> None:
    described = open_space("default", load_recipe("main")).describe()["parameters"]
    assert described["optimizer.lr"] == {"kind": "float", "low": 1e-6, "high": 1e-3, "log": True, "when": {}}
    assert described["encoder.dropout"] == {"kind": "float", "low": 0.0, "high": 0.5, "log": False, "when": {}}
    assert set(described["sampling.name"]["values"]) == STRATEGIES
    assert set(described["combination.name"]["values"]) == ALONE | COMPARING
    tasks = ("sst", "quora", "sts")
    assert set(described) == {
        "optimizer.lr",
        "encoder.dropout",
        "head.dropout",
        "sampling.name",
        "combination.name",
        "sampling.tasks_per_step",
        "sampling.drawn.tasks_per_step",
        "sampling.surgery.tasks_per_step",
        "sampling.scaled_batch_sizes.largest",
        "sampling.temperature.temperature",
        "sampling.temperature.cap",
        "sampling.annealed.start",
        "sampling.annealed.end",
        *(f"sampling.draw_weights.{task}" for task in tasks),
        *(f"combination.loss_weights.{task}" for task in tasks),
        *(f"combination.{parameter}" for parameter in COMBINATION_PARAMETERS),
    }


def test_how_many_tasks_a_step_trains_follows_the_combination() -> None:
    seen = set()
    for _, config in configs("default", load_recipe("extra-tasks"), 600):
        sampling = config.phases[0].sampling
        surgery, drawn = config.combination.name in COMPARING, sampling.name in DRAWN
        seen.add((surgery, drawn, tasks_in_one_step(sampling, 6)))
    # Six tasks: 1 … 6, drawn 1 … 5; with surgery from 2.
    expected = {(surgery, drawn, n) for surgery in (0, 1) for drawn in (0, 1) for n in range(1 + surgery, 7 - drawn)}
    assert seen == expected


def test_two_tasks_are_both_drawn_for_surgery() -> None:
    base = load_recipe("main", ["phases.0.tasks=[sst, sts]"])
    for _, config in configs("default", base, 100, combination__name="pcgrad"):
        assert tasks_in_one_step(config.phases[0].sampling, 2) == 2


def test_all_tasks_in_a_step_are_written_as_the_recipes_do() -> None:
    base = load_recipe("main")
    space = open_space("sampling", base)
    sampling = space.config(base, {"sampling.name": "round_robin", "sampling.surgery.tasks_per_step": 3})
    assert sampling.phases[0].sampling == RoundRobin(tasks_per_step="all")


def test_parameters_arrive_in_the_config() -> None:
    base = load_recipe("main", ["combination.name=sum"])
    space = open_space("sampling", base)

    def sampling(**values: Any) -> Any:
        given = {key.replace("__", "."): value for key, value in values.items()}
        return space.config(base, given).phases[0].sampling

    number = {"sampling__drawn__tasks_per_step": 2}
    assert sampling(
        sampling__name="annealed", sampling__annealed__start=0.9, sampling__annealed__end=0.3, **number
    ) == Annealed(tasks_per_step=2, start=0.9, end=0.3)
    assert sampling(
        sampling__name="temperature",
        sampling__temperature__temperature=3.0,
        sampling__temperature__cap=None,
        **number,
    ) == Temperature(tasks_per_step=2, temperature=3.0, cap=None)
    assert sampling(
        sampling__name="scaled_batch_sizes", sampling__scaled_batch_sizes__largest=64, sampling__tasks_per_step=1
    ) == ScaledBatchSizes(largest=64, tasks_per_step=1)
    drawn = sampling(
        sampling__name="draw_weights",
        sampling__draw_weights__sst=1.0,
        sampling__draw_weights__quora=3.0,
        sampling__draw_weights__sts=0.5,
        **number,
    )
    assert isinstance(drawn, DrawnByWeights)
    assert drawn.draw_weights == pytest.approx({"sst": 2 / 3, "quora": 2.0, "sts": 1 / 3})


def test_combination_weights_name_every_task_and_have_a_mean_of_one() -> None:
    base = load_recipe("main")
    for sample, config in configs("combination", base, 50, combination__name="loss_weights"):
        assert isinstance(config.combination, LossWeights)
        weights = config.combination.loss_weights
        assert sum(weights.values()) == pytest.approx(3)
        for task in ("quora", "sts"):
            asked = sample[f"combination.loss_weights.{task}"] / sample["combination.loss_weights.sst"]
            assert weights[task] / weights["sst"] == pytest.approx(asked)


def test_the_choice_of_sampling_is_for_every_phase_with_several_tasks() -> None:
    base = load_recipe(
        "main",
        [
            "phases=[{tasks: [sst], sampling: {name: sequential}}, {tasks: [quora, sts], epochs: 3}, {epochs: 2, lr: 1e-5}]",
            "combination.name=sum",
        ],
    )
    seen = set()
    for sample, config in configs("sampling", base, 200):
        first, second, third = config.phases
        assert first == base.phases[0]
        assert second.sampling.name == third.sampling.name == sample["sampling.name"]
        assert (second.epochs, second.tasks, third.lr) == (3, ("quora", "sts"), 1e-5)
        seen.add(sample["sampling.name"])
        if isinstance(second.sampling, DrawnByWeights) and isinstance(third.sampling, DrawnByWeights):
            assert set(second.sampling.draw_weights) == {"quora", "sts"}
            assert set(third.sampling.draw_weights) == {"sst", "quora", "sts"}
    assert seen == STRATEGIES


def test_methods_that_a_recipe_cannot_be_trained_with_are_left_out() -> None:
    own_batch_sizes = names("sampling", load_recipe("e-mix"), "sampling.name")
    assert own_batch_sizes == STRATEGIES - {"scaled_batch_sizes"}
    one_a_step = names("combination", load_recipe("proportional"), "combination.name")
    assert one_a_step == ALONE
    both = names("default", load_recipe("proportional"), "combination.name")
    assert "pcgrad" in both, "the number of tasks in a step follows"
    optimizer_per_task = names("default", load_recipe("e-seq"), "combination.name")
    assert optimizer_per_task == ALONE


def test_a_number_of_batches_gives_way_to_the_largest_batch() -> None:
    base = load_recipe("c-variable-batch")
    space = open_space("sampling", base, {"sampling.name": "scaled_batch_sizes"})
    sample = {"sampling.scaled_batch_sizes.largest": 32, "sampling.tasks_per_step": 3}
    assert space.config(base, sample).phases[0].sampling == ScaledBatchSizes(largest=32)


def test_groups_of_the_recipes_own_surgery_survive() -> None:
    groups = "combination={name: pcgrad, groups: [[sst, sts], [quora]]}"
    base = load_recipe("main", [groups])
    for sample, config in configs("default", base, 60):
        if sample["combination.name"] == "pcgrad":
            assert config.combination == base.combination


def test_dropout_stays_above_zero_where_two_masks_are_compared() -> None:
    def low(base: RunConfig) -> float:
        return float(open_space("default", base).parameters["encoder.dropout"].low)

    assert low(load_recipe("main")) == 0
    assert low(load_recipe("c-simcse")) == 0.05
    assert low(load_recipe("main", ["regularization.r_drop={weight: 1}"])) == 0.05


def test_dropout_of_the_heads_is_searched_where_a_head_follows_it() -> None:
    everywhere = "tasks.sst.head={name: linear, dropout: .2}", "tasks.quora.head={name: mlp, dropout: .1}"
    base = load_recipe("a-pears-wl", list(everywhere))
    assert "head.dropout" not in open_space("default", base).parameters
    base = load_recipe("a-pears-wl", everywhere[:1])
    for sample, config in configs("default", base, 5):
        assert config.head_dropout("quora") == sample["head.dropout"]
        assert config.head_dropout("sst") == 0.2
    main = load_recipe("main")
    space = open_space("population", main)
    assert space.sample_of(main) == {"optimizer.lr": 5e-5, "encoder.dropout": 0.1, "head.dropout": 0.1}
    apart = space.config(main, {"optimizer.lr": 5e-5, "encoder.dropout": 0.1, "head.dropout": 0.2})
    assert (apart.encoder.dropout, apart.head.dropout) == (0.1, 0.2)


def test_a_rate_that_no_phase_uses_is_not_searched() -> None:
    base = load_recipe("main", ["phases.0.lr=1e-4"])
    with pytest.raises(UserError, match=r"optimizer\.lr has no effect in recipe main"):
        open_space("learning_rate", base)


def test_the_grid_of_paper_a_has_its_twelve_configurations() -> None:
    base = load_recipe("a-pears-wl")
    space = open_space("paper_a_hyperparameters", base)
    made = [space.config(base, sample) for sample in space.grid()]
    found = {(config.phases[0].epochs, config.optimizer.lr, config.head.dropout) for config in made}
    assert len(made) == 12
    assert found == {(e, lr, p) for e in (10, 20) for lr in (1e-3, 1e-5, 1e-7) for p in (0.3, 0.4)}
    assert all(config.combination == base.combination for config in made)
    rows = ("epochs-20", "lr-1e-3", "lr-1e-7", "dropout-04")
    tried = [space.config(base, sample).trajectory() for sample in space.first]
    assert tried == [load_recipe(f"a-pears-wl-{row}").trajectory() for row in rows], "the recipe itself is trial 0"
    assert len(open_space("paper_a_hyperparameters", load_recipe("main")).first) == 5


def test_the_grid_of_paper_b_has_its_five_optimizers() -> None:
    base = load_recipe("b-cosine-siar-adamw")
    space = open_space("paper_b_optimizers", base)
    made = [space.config(base, sample) for sample in space.grid()]
    assert {(config.optimizer.name, config.optimizer.lr) for config in made} == {
        ("adamw", 1e-5),
        ("adamax", 1e-5),
        ("qhadam", 1e-5),
        ("lamb", 1e-4),
        ("lamb", 1e-5),
    }
    assert {config.optimizer.weight_decay for config in made} == {0.0}, "the recipe's, not the default"
    assert space.config(base, {"optimizer.name": "adamw"}) == base
    for name in ("adamax", "qhadam"):
        assert space.config(base, {"optimizer.name": name}).optimizer == load_recipe(f"b-cosine-siar-{name}").optimizer


def test_losses_fit_their_tasks() -> None:
    plain = configs("losses", load_recipe("main", ["tasks.sst.kind.ordered=false"]))
    assert {own.tasks["sst"].loss.name for _, own in plain} == {"cross_entropy", "focal"}
    assert {own.tasks["sts"].loss and own.tasks["sts"].loss.name for _, own in plain} == {None, "huber"}
    assert {own.tasks["quora"].loss.class_weights for _, own in plain} == {None, "balanced"}
    assert all(0.05 <= sample["delta.sts"] <= 2.5 for sample, _ in plain if "delta.sts" in sample)
    cosine = ["tasks.sts.pair_encoding={name: bi_encoder, features: cosine}", "tasks.sts.head.name=scaled"]
    base = load_recipe("main", [*cosine, "tasks.sst.kind.ordered=true"])
    assert names("losses", base, "loss.sst") == {"cross_entropy", "focal", "corn", "cumulative_link"}
    assert names("losses", base, "loss.sts") == {"squared_error", "huber", "cosent", "angle"}
    assert {own.tasks["sts"].compares_rows for _, own in configs("losses", base)} == {False, True}
    smooth = load_recipe("main", [*cosine, "regularization.smart={}"])
    assert names("losses", smooth, "loss.sts") == {"squared_error", "huber"}


def test_encodings_give_pairs_and_heads_that_fit() -> None:
    base = load_recipe("e-mix")
    encodings, heads = set(), set()
    for sample, config in configs("encodings", base, 400):
        for task in ("quora", "sts"):
            own = config.tasks[task]
            features = own.pair_encoding.features if isinstance(own.pair_encoding, BiEncoder) else "cross_encoder"
            assert features == sample[f"encoding.{task}"]
            encodings.add((task, features))
            heads.add((task, features in ("cosine", "pearson"), own.head.name if own.head else "linear"))
        assert config.tasks["sst"].pair_encoding is None
        link = getattr(config.tasks["sts"].head, "link", "identity")
        assert link == "identity", "of the recipe's own head"
    features = {"cross_encoder", "concat", "concat_difference_product", "cosine", "pearson"}
    assert encodings == {(task, own) for task in ("quora", "sts") for own in features}
    assert heads == {
        ("quora", False, "linear"),
        ("quora", False, "mlp"),
        ("quora", True, "linear"),
        ("sts", False, "linear"),
        ("sts", False, "mlp"),
        ("sts", True, "linear"),
        ("sts", True, "scaled"),
    }


def test_encodings_leave_alone_what_no_phase_trains() -> None:
    assert set(open_space("encodings", load_recipe("d-sst")).parameters) == {"encoder.pooling", "head.sst"}
    frozen = open_space("encodings", load_recipe("b-pretrain")).parameters
    assert "scale.sts" not in frozen, "a scaled head has no weights that could be trained alone"


def test_a_population_changes_numbers_of_the_recipes_own_methods() -> None:
    main = open_space("population", load_recipe("main"))
    assert list(main.parameters) == ["optimizer.lr", "encoder.dropout", "head.dropout"]
    changes = ["phases.0.sampling={name: temperature, tasks_per_step: 2}"]
    warm = open_space("population", load_recipe("main", changes))
    assert set(warm.parameters) == {*main.parameters, "sampling.temperature.temperature"}
    weights = "combination={name: loss_weights, loss_weights: {sst: 1, quora: 1, sts: 1}}"
    weighted = load_recipe("main", [weights])
    space = open_space("population", weighted)
    assert space.mutable == tuple(space.parameters)
    assert [name for name in space.parameters if name.startswith("combination.loss_weights.")] == [
        f"combination.loss_weights.{task}" for task in ("sst", "quora", "sts")
    ]
    config = space.config(weighted, space.draw(np.random.default_rng(0)))
    assert config.phases == weighted.phases


def test_steps_and_batches_of_a_population_stay_as_they_are() -> None:
    base = load_recipe("c-annealed")
    for _, config in configs("population", base, 20):
        own, before = config.phases[-1].sampling, base.phases[-1].sampling
        assert isinstance(own, Annealed)
        assert isinstance(before, Annealed)
        assert own.tasks_per_step == before.tasks_per_step
