"""What a space draws, proposes and makes of a sample."""

import math
from typing import Any

import numpy as np
import optuna
import pytest

from multitask.config import RunConfig, load_recipe
from multitask.config.loading import change_config
from multitask.errors import UserError
from tune_spaces import Space, check_space, open_space
from tune_spaces.core import own_value
from tune_spaces.core.distributions import told_sample

MINE = "tests.unit.tune_spaces.spaces"


@pytest.fixture(scope="module")
def base() -> RunConfig:
    return load_recipe("main")


def mine(name: str, base: RunConfig, **fixed: Any) -> Space:
    return open_space(f"{MINE}:{name}", base, {key.replace("__", "."): value for key, value in fixed.items()})


def draws(space: Space, count: int, seed: int = 0) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [space.draw(generator) for _ in range(count)]


def test_draws_follow_their_distributions(base: RunConfig) -> None:
    samples = draws(mine("numbers", base), 4000)

    def column(name: str) -> np.ndarray:
        return np.array([sample[name] for sample in samples])

    quarters = [0.25, 0.5, 0.75]
    # A quantile of 4000 draws is within 0.03 of its place with probability 1 − 1e-5.
    uniform = (column("schedule.warmup") - 0.1) / 0.2
    assert np.quantile(uniform, quarters) == pytest.approx(quarters, abs=0.03)
    log_uniform = (np.log10(column("optimizer.lr")) + 6) / 4
    assert np.quantile(log_uniform, quarters) == pytest.approx(quarters, abs=0.03)
    epochs, counts = np.unique(column("phases.0.epochs"), return_counts=True)
    assert list(epochs) == [1, 2, 3, 4]
    assert counts / 4000 == pytest.approx(0.25, abs=0.03)
    sizes = column("data.batch_size")
    for bound in (4, 32, 256):
        assert np.mean(sizes < bound) == pytest.approx(math.log(bound) / math.log(1025), abs=0.03)
    for value in ("mean", "cls", "max"):
        assert np.mean(column("encoder.pooling") == value) == pytest.approx(1 / 3, abs=0.03)


def test_draws_are_decided_by_the_generator_alone(base: RunConfig) -> None:
    space = open_space("default", base)
    first = draws(space, 20, seed=5)
    np.random.seed(1)
    assert draws(open_space("default", base), 20, seed=5) == first
    assert draws(space, 20, seed=6) != first


def test_a_conditional_parameter_is_there_exactly_where_its_conditions_hold(base: RunConfig) -> None:
    seen = set()
    for sample in draws(mine("rates", base), 300):
        adamw, patience = sample["optimizer.name"] == "adamw", sample.get("training.patience")
        assert ("optimizer.weight_decay" in sample) is adamw
        assert ("training.patience" in sample) is not adamw
        assert ("schedule.warmup" in sample) is (patience == 3)
        seen.add((adamw, patience))
    assert seen == {(True, None), (False, None), (False, 3)}


def test_conditions_of_the_default_space_never_leak(base: RunConfig) -> None:
    space = open_space("default", base)
    for sample in draws(space, 300):
        for name, own in space.parameters.items():
            holds = all(sample.get(other) in values for other, values in own.when.items())
            assert (name in sample) is holds


def test_constraints_hold_in_draws_and_in_what_optuna_proposes(base: RunConfig) -> None:
    space = mine("rates", base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = [space.suggest(study.ask()) for _ in range(200)]
    for sample in [*draws(space, 200), *proposed]:
        assert sample["optimizer.lr"] <= 1e-3 or sample["encoder.dropout"] <= 0.5
    sample = {"optimizer.lr": 5e-3, "encoder.dropout": 0.55, "optimizer.name": "adamw", "optimizer.weight_decay": 0.0}
    with pytest.raises(UserError, match=r"does not allow .*optimizer\.lr=0\.005, encoder\.dropout=0\.55"):
        space.config(base, sample)


def test_a_constraint_that_nothing_meets_is_refused_before_anything_starts(base: RunConfig) -> None:
    space = open_space("tests.unit.tune_spaces.awkward_spaces:excluded", base)
    with pytest.raises(UserError, match=r"no sample can be trained: .*does not allow optimizer\.lr=0\.00"):
        check_space(space, base)
    with pytest.raises(UserError, match="none of 1000 samples"):
        space.draw(np.random.default_rng(0))


def test_grid_has_every_combination_of_active_parameters(base: RunConfig) -> None:
    samples = mine("grid", base).grid()
    # adamw: 2 decays of weights · 3 epochs · 2 schedules; adamax: 3 · 2.
    assert len(samples) == 12 + 6
    assert len({tuple(sorted(sample.items())) for sample in samples}) == 18
    assert {sample["phases.0.epochs"] for sample in samples} == {1, 2, 3}
    assert all(("optimizer.weight_decay" in sample) == (sample["optimizer.name"] == "adamw") for sample in samples)
    assert len(mine("grid", base, optimizer__name="adamax").grid()) == 6


def test_grid_names_a_parameter_with_values_without_number(base: RunConfig) -> None:
    with pytest.raises(
        UserError, match=r"optimizer\.lr \(1e-06 … 0\.001\) has values without number.*optimizer\.lr=VALUE"
    ):
        open_space("default", base).grid()


def test_grid_leaves_out_what_constraints_exclude(base: RunConfig, tmp_path: Any) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "parameters:\n"
        "  phases.0.sampling.name: {choice: [round_robin, proportional]}\n"
        "  combination.name: {choice: [sum, pcgrad]}\n"
    )
    pairs = [tuple(sample.values()) for sample in open_space(str(file), base).grid()]
    # PCGrad needs several tasks in a step, and `proportional` trains one.
    assert pairs == [("round_robin", "sum"), ("round_robin", "pcgrad"), ("proportional", "sum")]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_proposes_the_same_parameters_and_can_be_told_of_samples(base: RunConfig) -> None:
    space = open_space("default", base)
    parameters = space.describe()["parameters"]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, group=True))
    for number in range(30):
        sample = space.draw(np.random.default_rng([1, number]))
        study.add_trial(optuna.trial.create_trial(**told_sample(sample, parameters), value=number))
        assert study.trials[-1].params == sample
    for _ in range(30):
        trial = study.ask()
        sample = space.suggest(trial)
        assert sample == trial.params
        assert space.active(sample) == sample
        assert told_sample(sample, parameters)["distributions"] == trial.distributions
        space.config(base, sample)
        study.tell(trial, 0.0)


def test_config_sets_the_samples_values_and_keeps_the_rest(base: RunConfig) -> None:
    changed = base.model_copy(update={"seed": 7, "description": "kept"})
    config = open_space("learning_rate", base).config(changed, {"optimizer.lr": 3e-4})
    tree = changed.to_dict()
    tree["optimizer"]["lr"] = 3e-4
    assert config.to_dict() == tree


def test_layers_are_looked_at_where_a_method_keeps_gradients_apart(base: RunConfig) -> None:
    """The look leaves no method out of the search."""
    looking = change_config(base, {"combination": {"name": "pcgrad"}, "training.layer_conflicts_every": 50}, "test")
    space, seen = open_space("combination", looking), {}
    for sample in draws(space, 80):
        found = space.config(looking, sample)
        seen[found.combination.ABOUT.gradients] = found.training.layer_conflicts_every
    assert seen == {"one": None, "each": 50}


def test_host_looks_at_each_step_where_a_method_needs_it(base: RunConfig) -> None:
    late = change_config(base, {"combination": {"name": "sum"}, "training.check_every": 20}, "test")
    space, seen = open_space("combination", late), {}
    for sample in draws(space, 80):
        found = space.config(late, sample)
        seen[found.combination.name] = found.training.check_every
    assert {name for name, every in seen.items() if every == 20} <= {"sum", "loss_weights", "size_weighted", "random"}
    assert set(seen.values()) == {1, 20}


def test_inactive_values_are_passed_over(base: RunConfig) -> None:
    space = mine("rates", base)
    sample = {
        "optimizer.lr": 1e-4,
        "encoder.dropout": 0.3,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.1,
        "training.patience": 3,
        "schedule.warmup": 0.4,
    }
    config = space.config(base, sample)
    assert (config.training.patience, config.schedule.warmup) == (None, base.schedule.warmup)
    assert list(space.active(sample)) == ["optimizer.lr", "encoder.dropout", "optimizer.name", "optimizer.weight_decay"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer.lr": 0.5}, r"optimizer\.lr must be 1e-06 … 0\.01, got 0\.5"),
        ({"optimizer.lr": "fast"}, r"optimizer\.lr must be .* got 'fast'"),
        ({"encoder.pooling": "men"}, r"encoder\.pooling must be one of mean, cls, max, got 'men'"),
        ({"phases.0.epochs": 5}, r"phases\.0\.epochs must be 1 … 4, got 5"),
        ({"phases.0.epochs": 2.5}, r"phases\.0\.epochs must be 1 … 4, got 2\.5"),
        ({"phases.0.epochs": True}, r"phases\.0\.epochs must be 1 … 4, got True"),
        ({"optimiser.lr": 1e-4}, r"no parameter 'optimiser\.lr'.*did you mean 'optimizer\.lr'"),
        ({"schedule.warmup": None}, r"schedule\.warmup must be"),
    ],
)
def test_a_sample_that_is_not_of_the_space_is_refused(base: RunConfig, change: dict, message: str) -> None:
    space = mine("numbers", base)
    sample = space.draw(np.random.default_rng(0)) | change
    with pytest.raises(UserError, match=message):
        space.config(base, sample)


def test_a_sample_without_an_active_parameter_is_refused(base: RunConfig) -> None:
    space = open_space("sampling", base)
    with pytest.raises(UserError, match=r"no value for sampling\.annealed\.end"):
        space.config(base, {"sampling.name": "annealed", "sampling.annealed.start": 0.7})


def test_fixed_parameters_are_held_and_leave_the_search(base: RunConfig) -> None:
    space = open_space("default", base, {"phases.0.sampling.name": "annealed", "sampling.annealed.end": 0.1})
    assert space.fixed == {"sampling.name": "annealed", "sampling.annealed.end": 0.1}
    searched = [name for name in space.parameters if name.startswith("sampling.")]
    assert searched == ["sampling.drawn.tasks_per_step", "sampling.annealed.start"], "nothing of other strategies"
    for sample in draws(space, 50):
        own = space.config(base, sample).phases[0].sampling
        assert (own.name, own_value(space.config(base, sample), "sampling.annealed.end")) == ("annealed", 0.1)
        assert "sampling.name" not in sample
    check_space(space, base)


def test_a_fixed_value_may_lie_outside_of_the_range(base: RunConfig) -> None:
    space = open_space("default", base, {"optimizer.lr": 0.01})
    assert all(space.config(base, sample).optimizer.lr == 0.01 for sample in draws(space, 5))


def test_a_fixed_value_that_rules_out_a_choice_is_refused_by_its_name(base: RunConfig) -> None:
    with pytest.raises(
        UserError, match=r"combination\.name=famo can never be trained: .*needs several tasks in a step"
    ):
        check_space(open_space("default", base, {"sampling.name": "sequential"}), base)
    check_space(open_space("default", base, {"sampling.name": "sequential", "combination.name": "sum"}), base)


def test_points_come_in_their_order_without_what_is_fixed(base: RunConfig) -> None:
    rates = open_space("learning_rate", base)
    assert rates.points == ({"optimizer.lr": 1e-5}, {"optimizer.lr": 1e-4})
    own = mine("rates", base, optimizer__lr=2e-4)
    assert own.points == ({"optimizer.name": "adamw", "encoder.dropout": 0.25},)
    with pytest.raises(UserError, match=r"points: .*no value for optimizer\.weight_decay"):
        check_space(own, base)


def test_mutable_parameters_are_those_that_are_searched(base: RunConfig) -> None:
    assert mine("rates", base).mutable == ("optimizer.lr",)
    assert mine("rates", base, optimizer__lr=1e-4).mutable == ()


def test_the_recipe_is_a_sample_where_the_space_has_it(base: RunConfig) -> None:
    space = open_space("default", base)
    sample = space.sample_of(base)
    assert sample == {
        "optimizer.lr": 5e-5,
        "encoder.dropout": 0.1,
        "head.dropout": 0.1,
        "sampling.name": "round_robin",
        "sampling.surgery.tasks_per_step": 3,
        "combination.name": "pcgrad",
    }
    assert space.config(base, sample) == base
    assert space.sample_of(load_recipe("main", ["optimizer.lr=0.1"])) is None
    assert space.sample_of(load_recipe("main", ["combination.name=sum", "phases.0.sampling.name=sequential"])) is None
    assert open_space("default", base, {"encoder.dropout": 0.2}).sample_of(base) is None, "the recipe has another"


def test_identity_changes_with_ranges_and_fixed_values_and_with_nothing_else(base: RunConfig, tmp_path: Any) -> None:
    def identity(text: str, **fixed: Any) -> str:
        file = tmp_path / "own.yaml"
        file.write_text(f"parameters:\n  optimizer.lr: {text}\n  encoder.dropout: {{uniform: [0, 0.5]}}\n")
        return open_space(str(file), base, {key.replace("__", "."): value for key, value in fixed.items()}).describe()[
            "identity"
        ]

    first = identity("{loguniform: [1e-6, 1e-3]}")
    assert first == identity("{loguniform: [0.000001, 0.001]}")
    others = [
        identity("{loguniform: [1e-6, 2e-3]}"),
        identity("{uniform: [1e-6, 1e-3]}"),
        identity("{loguniform: [1e-6, 1e-3], when: {combination.name: [pcgrad]}}"),
        identity("{loguniform: [1e-6, 1e-3]}", optimizer__lr=1e-4),
        identity("{loguniform: [1e-6, 1e-3]}", optimizer__lr=2e-4),
    ]
    assert len({first, *others}) == 6


def test_two_recipes_differ_in_identity_only_where_the_space_does(base: RunConfig) -> None:
    other = load_recipe("main", ["seed=3"])
    assert open_space("default", base).describe() == open_space("default", other).describe()
    more = load_recipe("extra-tasks")
    assert open_space("default", base).describe()["identity"] != open_space("default", more).describe()["identity"]
