"""Recipes, overrides, and errors that tell in one line what to change."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from multitask.config import RunConfig, list_recipes, load_recipe, override_config, parse_config
from multitask.errors import UserError
from tests.builders import merge


@pytest.mark.parametrize("recipe", list_recipes())
def test_shipped_recipe_goes_to_plain_values_and_back(recipe: str) -> None:
    config = load_recipe(recipe)
    assert RunConfig.model_validate(config.to_dict()) == config
    assert RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lrr=1", ["unknown key 'optimizer.lrr'", "valid: lr, weight_decay", "did you mean 'lr'?"]),
        ("combination.name=pcgradd", ["combination.name: unknown 'pcgradd'", "did you mean 'pcgrad'?"]),
        ("tasks.sst.kind.classes=1", ["tasks.sst.kind.classes", "greater than or equal to 2", "got 1"]),
        ("optimizer.lr=fast", ["optimizer.lr", "got 'fast'"]),
        ("phases.0.sampling.name=sequential", ["combination.name=pcgrad", "phases.0.sampling.name=round_robin"]),
        ("phases.0.sampling.tasks_per_step=1", ["set phases.0.sampling.tasks_per_step=all"]),
        ("phases.0.tasks=[sst, foo]", ["there is no task 'foo'", "sst, quora, sts"]),
        ("phases.3.epochs=2", ["'3' is no position in a list of 1"]),
        ("tasks.sts.kind.low=9", ["low must be below high, got low=9 and high=5"]),
        ("training.selection=dev/foo", ["training.selection must be one of dev/mean", "'dev/foo'"]),
        ("tasks.sst.files.train=[]", ["tasks.sst", "files.train is missing"]),
        ("tasks.quora.pair_encoding=null", ["columns.text_pair and pair_encoding belong together"]),
        ("optimizer.lr=.nan", ["optimizer.lr", "finite number"]),
        ("zero.stage=4", ["zero.stage", "1, 2 or 3"]),
        ("name=a/b", ["name: may hold letters"]),
        ("nonsense", ["an override is key.path=value, got 'nonsense'"]),
    ],
)
def test_mistake_is_told_in_one_line(override: str, told: list[str]) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", [override])
    assert len(str(error.value).splitlines()) == 1
    for part in told:
        assert part in str(error.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", ["optimizer.lr=-1", "encoder.dropout=2"])
    assert len(str(error.value).splitlines()) == 2


def test_overrides_read_numbers_lists_and_choices() -> None:
    config = load_recipe("main", ["optimizer.lr=1e-5", "phases.0.epochs=3", "tasks.sst.files.dev=[a.csv, b.csv]"])
    assert config.optimizer.lr == 1e-5
    assert config.phases[0].epochs == 3
    assert config.tasks["sst"].files["dev"] == ("a.csv", "b.csv")
    other = load_recipe(
        "main", ["combination.name=loss_weights", "combination.loss_weights={sst: 1, quora: 2, sts: 0.5}"]
    )
    assert other.combination.model_dump() == {
        "name": "loss_weights",
        "loss_weights": {"sst": 1, "quora": 2, "sts": 0.5},
        "strength": 1,
        "after": 0,
    }


def test_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text("extends: main\noptimizer: {lr: 1e-6}\ncombination: {name: sum}\n")
    child, main = load_recipe(str(tmp_path / "child.yaml")), load_recipe("main")
    assert child.name == "child"
    assert child.optimizer.lr == 1e-6
    assert child.optimizer.betas == main.optimizer.betas
    assert child.tasks == main.tasks
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(UserError, match=r"circle"):
        load_recipe(str(tmp_path / "a.yaml"))
    with pytest.raises(UserError, match=r"no recipe 'mian'.*did you mean 'main'"):
        load_recipe("mian")
    (tmp_path / "broken.yaml").write_text("tasks: [")
    with pytest.raises(UserError, match=r"broken.yaml: not valid YAML"):
        load_recipe(str(tmp_path / "broken.yaml"))


def test_trajectory_hash_knows_what_is_learned_from_where_it_runs(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    same = [
        "name=x",
        "cluster.workers=4",
        "zero.stage=3",
        "tracking.mode=disabled",
        "training.accumulation=2",
        "training.max_tokens_per_micro_batch=256",
        "encoder.checkpointing=true",
        "data.cache=y",
    ]
    late = ["combination.name=sum", "training.check_every=9"]
    assert override_config(config, late).trajectory_hash() == override_config(config, late[:1]).trajectory_hash()
    for override in same:
        assert override_config(config, [override]).trajectory_hash() == config.trajectory_hash(), override
    for override in [
        "seed=5",
        "optimizer.lr=0.5",
        "tasks.sst.batch_size=3",
        "combination.name=sum",
        "encoder.dropout=0.5",
        "head.dropout=0.5",
    ]:
        assert override_config(config, [override]).trajectory_hash() != config.trajectory_hash(), override


@pytest.mark.parametrize("name", ["sum", "mean", "size_weighted", "random"])
def test_host_may_look_later_where_weights_are_known_before(tiny_tasks: dict[str, Any], name: str) -> None:
    tree = merge(tiny_tasks, {"combination": {"name": name}, "training": {"check_every": 5}})
    assert parse_config(tree, "test").training.check_every == 5
    with pytest.raises(UserError, match="in precision=fp16 each step may overflow and be left out"):
        parse_config(tree | {"precision": "fp16"}, "test")


@pytest.mark.parametrize(
    "name", ["uncertainty", "imtl_l", "dwa", "famo", "stch", "geometric_mean", "graddrop", "cagrad"]
)
def test_host_looks_at_each_step_whose_losses_or_gradients_decide(tiny_tasks: dict[str, Any], name: str) -> None:
    tree = merge(tiny_tasks, {"combination": {"name": name}, "training": {"check_every": 5}})
    with pytest.raises(UserError, match=rf"combination\.name={name} reads losses or gradients of each"):
        parse_config(tree, "test")


def test_config_is_frozen(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("phases.0.sampling={name: proportionl}", "phases.0.sampling.name: unknown 'proportionl'; valid: sequential"),
        ("phases.0.epochs=0", "phases.0.epochs: must be greater than or equal to 1, got 0"),
        ("phases.0.epoch=2", "unknown key 'phases.0.epoch'; valid: tasks, sampling, epochs"),
        ("phases.0.sampling.tasks_per_step=some", "tasks_per_step: must be a number of tasks or 'all', got 'some'"),
        ("phases.0.sampling.tasks_per_step=4", "tasks_per_step must lie in 1 … 3 (the phase's tasks), got 4"),
        ("phases.0.tasks=[]", "phases.0.tasks must name at least one task"),
        ("phases.0.tasks=[sst, sst]", "each once"),
        ("phases=[]", "phases"),
        ("optimizer.betas=[1.5, 0.9]", "optimizer.betas.0: must be less than 1, got 1.5"),
        ("combination={name: loss_weights, loss_weights: {sst: 1, quora: 1}}", "the weight of task 'sts' is missing"),
        (
            "combination={name: loss_weights, loss_weights: {sst: 1, quora: 1, st: 1}}",
            "there is no task 'st'; tasks: sst, quora",
        ),
        (
            "combination={name: loss_weights, loss_weights: {sst: -1, quora: 1, sts: 1}}",
            "the weight of sst must not be negative",
        ),
        (
            "training.check_every=5",
            "training.check_every=5 needs weights that do not depend on what a step finds, but combination.name=pcgrad",
        ),
        ("combination=sum", "combination: must be a mapping of keys to values, got 'sum'"),
        ("encoder=bert", "encoder: must be a mapping of keys to values, got 'bert'"),
        ("tasks.sst.kind={}", "tasks.sst.kind.name is missing"),
        (
            "tasks.sst.metric=pearson",
            "metric must be one of accuracy, macro_f1, matthews, auc, quadratic_kappa, negative_mae for kind classification, got pearson",
        ),
        (
            "tasks.sst.files.val=[a]",
            "tasks.sst.files: a key must be train, dev, test, or dev_NAME for another dev set, got 'val'",
        ),
        ("seed.x=1", "seed is 11711, it has no keys below it"),
        (
            "tasks.quora={kind: {name: classification, classes: 2}, columns: {text: a, text_pair: b, label: c}, "
            "files: {train: a, dev: b}, pair_encoding: {name: bi_encoder, features: cosine}}",
            "pair_encoding.features gives one number",
        ),
        ("phases.0.sampling={name: annealed}", "set phases.0.sampling.tasks_per_step to 2 or more"),
        ("phases.0.sampling={name: temperature, temperature: 0.5, tasks_per_step: 2}", "greater than or equal to 1"),
        (
            "phases.0.sampling={name: draw_weights, draw_weights: {sst: 1, quora: 1}, tasks_per_step: 2}",
            "weight of task 'sts' is",
        ),
        (
            "phases.0.sampling={name: draw_weights, draw_weights: {sst: 0, quora: 1, sts: 1}}",
            "the weight of sst must be above 0",
        ),
        ("phases.0.sampling={name: uniform, tasks_per_step: 4}", "tasks_per_step must lie in 1 … 3"),
        ("phases.0.sampling={name: scaled_batch_sizes}", "give one of batches and largest"),
        ("phases.0.sampling={name: scaled_batch_sizes, batches: 5, largest: 9}", "give one of batches and largest"),
        ("phases.0.encoder=thawed", "'trained', 'frozen' or 'gradual'"),
        ("combination.groups=[[sst, quora]]", "combination.groups must name every task once (sst, quora, sts)"),
        ("combination.groups=[[sst, quora], [sts, sst]]", "combination.groups must name every task once"),
        ("encoder.dropout=0 regularization.r_drop={}", "regularization.r_drop compares two dropout masks"),
        (
            "encoder.dropout=0 head.dropout=.3 regularization.r_drop={} tasks.sts={pair_encoding: {name: bi_encoder, "
            "features: cosine}, kind: {name: regression, low: 0, high: 5}, columns: {text: a, text_pair: b, label: c}, "
            "files: {train: a, dev: b}}",
            "encoder.dropout is 0 and nothing is dropped in the head of task sts",
        ),
        ("head.dropout=1", "head.dropout: must be less than 1, got 1"),
        (
            "training.score_train_rows=5 tasks.loss={kind: {name: binary}, columns: {text: a, label: b}, files: {train: a, dev: b}}",
            "training.score_train_rows: train/loss/… is told of every task, so no task may be called 'loss'",
        ),
        (
            "tasks.sts.pair_encoding={name: bi_encoder, features: cosine} tasks.sts.head={name: linear, dropout: .1}",
            "tasks.sts: head.dropout has no effect on the one number of pair_encoding.features=cosine",
        ),
        ("regularization.smart.weight=0", "regularization.smart.weight: must be greater than 0"),
        (
            "regularization.smart={adversary: mt_dnn, radius: 0.1}",
            "regularization.smart.radius: is for adversary=ascent: MT-DNN's code does not bound the noise",
        ),
        ("regularization.smart.eps=0", "unknown key 'regularization.smart.eps'; valid: weight, adversary, noise"),
        (
            "optimizer.per_task=true",
            "optimizer.per_task needs one task in a step, but phases.0.sampling trains several",
        ),
        ("optimizer.layer_decay=1.5", "optimizer.layer_decay: must be less than or equal to 1"),
        ("encoder.pooling=meen", "encoder.pooling"),
        ("encoder.adapter={name: lora, rank: 0}", "encoder.adapter.rank"),
        ("encoder.adapter={name: projected_attention, width: 10, heads: 3}", "must divide width=10, got 3"),
        ("tasks.quora.kind.labels=[a]", "tasks.quora.kind.labels: must be 2 different names, got ['a']"),
        ("tasks.sst.kind.labels=[a, b, c, d, a]", "tasks.sst.kind.labels: must be 5 different names"),
        (
            "tasks.quora.kind.labels=[no, yes]",
            "tasks.quora.kind.labels: must be texts, but YAML reads false: quote yes, no",
        ),
        ("combination.groups=[[sst, quora, sts]]", "combination.groups has one group: there is nothing to compare"),
        ("optimizer={name: lamb, options: {betas: 5}}", "optimizer.options: lamb cannot be used so"),
        ("encoder.adapter.name=lara", "encoder.adapter.name: unknown 'lara'; valid: none, lora, projected_attention"),
        ("tasks.sst.head={name: mlp, link: identity}", "tasks.sst: head.link is for kind regression"),
        (
            "tasks.sst.kind.ordered=false tasks.sst.loss.name=corn",
            "tasks.sst: loss.name=corn is for classes in order: say kind.ordered=true",
        ),
        ("tasks.sts.loss.delta=3", "unknown key 'tasks.sts.loss.delta'"),
        (
            "tasks.sst.loss.name=huber",
            "loss.name=huber is not for kind classification: use one of cross_entropy, focal",
        ),
        ("tasks.sst.loss={name: focal, class_weights: [1, 2]}", "loss.class_weights must hold 5 numbers, one for each"),
        (
            "tasks.sst.loss={name: focal, class_weights: [1, 2, 0, 1, 1]}",
            "loss.class_weights: must be a list of numbers above 0, one for each class, or balanced, got [1, 2, 0, 1, 1]",
        ),
        (
            "tasks.sst.loss={name: cross_entropy, label_smoothing: 1}",
            "loss.label_smoothing: must be less than 1",
        ),
        (
            "tasks.sts.loss.name=cosent",
            "it needs pair_encoding.name=bi_encoder, pair_encoding.features=cosine or pearson",
        ),
        (
            "tasks.sts.pair_encoding={name: bi_encoder, features: pearson} tasks.sts.head.name=scaled tasks.sts.loss.name=angle",
            "pair_encoding.features=cosine and head.name=scaled",
        ),
        (
            "tasks.sts.pair_encoding={name: bi_encoder, features: cosine} tasks.sts.head.name=scaled tasks.sts.loss.name=cosent "
            "regularization.smart={}",
            "regularization.smart is added to the loss of each row, but tasks.sts.loss.name=cosent compares rows",
        ),
        ("tasks.sts.head={name: scaled}", "head.name=scaled is for regression on pair_encoding.features=cosine"),
        ("tasks.sst.columns.label=null", "tasks.sst: columns.label is missing"),
        ("tasks.sst.columns.negative=x", "tasks.sst: columns.negative is for tasks of kind contrastive"),
        ("tasks.sst.files.dev=[]", "files.dev is missing: a task needs dev files, unless it is auxiliary"),
        ("tasks.sst.kind={name: contrastive}", "files.dev of a contrastive task needs columns.text_pair"),
        ("tasks.sst.files.dev_=a", "must be train, dev, test, or dev_NAME for another dev set, got 'dev_'"),
        ("tasks.sst.files.dev=[] tasks.sst.files.dev_hard=a", "files.dev_hard is a further dev set: name the first as"),
        ("training.selection=dev_hard/sst/auc", "training.selection must be one of dev/mean, dev/sst/accuracy"),
        (
            "tasks.wiki={kind: {name: contrastive}, columns: {text: text, label: x}, files: {train: a}}",
            "columns.label has no meaning for a contrastive task",
        ),
        (
            "tasks.wiki={kind: {name: contrastive}, columns: {text: text, negative: x}, files: {train: a}}",
            "columns.negative needs columns.text_pair",
        ),
        (
            "tasks.wiki={kind: {name: contrastive}, columns: {text: text}, files: {train: a}, batch_size: 1}",
            "tasks.wiki.batch_size: task wiki compares the rows of a batch and needs 2 or more, got 1",
        ),
        (
            "encoder.dropout=0 tasks.wiki={kind: {name: contrastive}, columns: {text: text}, files: {train: a}}",
            "tasks.wiki: a text and itself differ by dropout alone",
        ),
        (
            "tasks.sst.auxiliary=true tasks.quora.auxiliary=true tasks.sts.auxiliary=true",
            "tasks: every task is auxiliary or contrastive",
        ),
        (
            "phases.0.encoder=frozen tasks.wiki={kind: {name: contrastive}, columns: {text: text}, files: {train: a}}",
            "phases.0.encoder=frozen leaves nothing to train for task wiki",
        ),
        (
            "phases.0.sampling={name: scaled_batch_sizes, batches: 9} tasks.sst.batch_size=4",
            "tasks.sst.batch_size is set, but phases.0.sampling.name=scaled_batch_sizes sets it",
        ),
    ],
)
def test_combination_that_cannot_work_is_refused_in_one_line(override: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", _overrides(override))
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def _overrides(text: str) -> list[str]:
    """Several overrides in one line: each begins at a word with a '=' before any bracket."""
    return re.split(r" (?=[a-z_.0-9]+=)", text)


def test_pcgrad_may_train_one_task_where_the_phase_has_no_other() -> None:
    config = load_recipe("main", ["phases=[{tasks: [sst], sampling: {name: sequential}}, {}]"])
    assert config.phase_tasks(0) == ("sst",)
    assert config.phase_tasks(1) == ("sst", "quora", "sts")


def test_auxiliary_and_contrastive_tasks_are_not_selected_on() -> None:
    wiki = "tasks.wiki={kind: {name: contrastive}, columns: {text: text}, files: {train: a}}"
    config = load_recipe("main", ["tasks.sst.auxiliary=true", wiki])
    assert config.selected_tasks == ("quora", "sts")
    assert config.scored_tasks == ("sst", "quora", "sts")


def test_optimizer_of_the_library_keeps_its_options() -> None:
    config = load_recipe("main", ["optimizer.name=lamb", "optimizer.lr=1e-4", "optimizer.options.eps=1e-7"])
    again = parse_config(config.to_dict(), "again")
    assert again.optimizer == config.optimizer
    assert config.optimizer.options == {"eps": 1e-7}
    assert load_recipe("main", ["optimizer.name=lamb", "optimizer.name=adamw"]).optimizer.name == "adamw"


def test_extended_recipe_lies_beside_or_is_shipped_and_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: main\nseed: 3\nphases: [{epochs: 7}]\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "leaf.yaml").write_text("extends: ../base.yaml\nname: leafy\ntasks: {sst: {batch_size: 5}}\n")
    config = load_recipe(str(tmp_path / "sub" / "leaf.yaml"))
    assert (config.name, config.seed, config.phases[0].epochs) == ("leafy", 3, 7)
    assert config.batch_size("sst") == 5
    assert config.batch_size("sts") == load_recipe("main").batch_size("sts")
    assert config.tasks["sst"].files == load_recipe("main").tasks["sst"].files
    (tmp_path / "based.yaml").write_text("extends: bases/c-b1.yaml\nsource: null\n")
    assert load_recipe(str(tmp_path / "based.yaml")).tasks == load_recipe("c-b1").tasks
    (tmp_path / "orphan.yaml").write_text("extends: absent\n")
    with pytest.raises(UserError, match=r"orphan\.yaml: extends: there is no recipe 'absent'"):
        load_recipe(str(tmp_path / "orphan.yaml"))
    (tmp_path / "self.yaml").write_text("extends: self.yaml\n")
    with pytest.raises(UserError, match="circle"):
        load_recipe(str(tmp_path / "self.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(UserError, match=r"list\.yaml: must be a mapping of keys to values"):
        load_recipe(str(tmp_path / "list.yaml"))


@pytest.mark.parametrize("number", ["1e-5", "1.0e-5", "0.00001", "1E-5", "+1e-5"])
def test_numbers_are_written_as_people_write_them(number: str, tmp_path: Path) -> None:
    assert load_recipe("main", [f"optimizer.lr={number}"]).optimizer.lr == 1e-5
    (tmp_path / "r.yaml").write_text(f"extends: main\noptimizer: {{lr: {number}}}\n")
    assert load_recipe(str(tmp_path / "r.yaml")).optimizer.lr == 1e-5


def test_last_override_wins_and_one_file_is_a_list_of_one() -> None:
    config = load_recipe("main", ["seed=1", "seed=2", "tasks.sts.files.dev=x=y.csv", "name=0a.b-c_d"])
    assert config.seed == 2
    assert config.tasks["sts"].files["dev"] == ("x=y.csv",)
    assert config.name == "0a.b-c_d"
