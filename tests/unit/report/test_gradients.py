"""How the tasks get along: curves for a few tasks, a heat map for many."""

import itertools
import re

from cluster.report.gradient_figures import gradient_figures, mean_cosines
from cluster.report.heat_maps import layer_map
from cluster.report.source import Source
from multitask.config import parse_config
from tests.unit.report.fake_sweep import recipe_tree


def _source(count: int) -> Source:
    """A run of `count` tasks; tasks i and j have cosines of (i + j) / 20 − 0.2, one record more and one less by 0.1."""
    tasks = [f"t{number}" for number in range(count)]
    mean = {
        f"{one}-{other}": (int(one[1:]) + int(other[1:])) / 20 - 0.2 for one, other in itertools.combinations(tasks, 2)
    }
    train = [
        {"step": step, "epoch": 1.0, "phase": 0} | {f"combination/cosine/{p}": m + shift for p, m in mean.items()}
        for step, shift in ((1, 0.1), (2, -0.1))
    ]
    return Source("run", "runs/run", parse_config(recipe_tree(tasks), "test"), {}, {}, train=train)


def test_few_tasks_have_curves_alone() -> None:
    assert [figure.title for figure in gradient_figures(_source(7))] == ["Agreement of the tasks' gradients"]


def test_eight_tasks_have_a_heat_map_and_the_ten_pairs_most_at_odds() -> None:
    heat, lines = gradient_figures(_source(8))
    assert heat.title == "Mean agreement of each pair of tasks"
    assert "Most at odds: t0 and t1 (-0.15); most alike: t6 and t7 (+0.45)." in heat.caption
    written = re.findall(r"<text [^>]*>(−?\.\d\d)</text>", heat.svg)
    assert len(written) == 28
    assert (written.count("−.15"), written.count(".45")) == (1, 1)
    assert "Of the 28 pairs these are the 10 that are most at odds" in lines.caption
    drawn = set(re.findall(r"<text [^>]*>(t\d-t\d)</text>", lines.svg))
    assert len(drawn) == 10
    assert {"t0-t1", "t0-t2", "t1-t2"} <= drawn
    assert "t6-t7" not in drawn


def test_layers_rate_and_lengths_have_figures() -> None:
    source = _source(3)
    for point, cosine in zip(source.train, (-0.5, 0.1), strict=True):
        point |= {"combination/conflict_rate": 0.5} | {f"combination/norm/t{n}": 2.0 + n for n in range(3)}
        for layer, shift in (("embeddings", 0.0), ("layer_01", 0.4), ("pooling", 0.6)):
            point[f"combination/layer_cosine/t0-t1/{layer}"] = cosine + shift
    source.train[0]["combination/layer_cosine/t0-t2/layer_01"] = 0.9
    figures = {figure.title: figure for figure in gradient_figures(source)}
    assert list(figures)[1:] == ["Conflict rate", "Where tasks meet", "Length of each task's gradient"]
    letters = re.findall(r"<text [^>]*>([^<]*)</text>", figures["Where tasks meet"].svg)
    assert {"−.20", ".20", ".40", ".90", "embeddings", "layer 1", "pooling", "t0-t1", "t0-t2"} <= set(letters)
    assert letters.count("–") == 2  # what t0 and t2 were not looked at in


def test_of_many_pairs_those_most_at_odds_in_some_layer_are_shown() -> None:
    rows = {f"p{n}": [0.5, 0.5 - n / 20] for n in range(15)}
    figure = layer_map("title", "caption.", rows, ["embeddings", "layer 1"])
    drawn = set(re.findall(r"<text [^>]*>(p\d+)</text>", figure.svg))
    assert drawn == {f"p{n}" for n in range(3, 15)}
    assert "Of 15 pairs these are the 12" in figure.caption


def test_mean_is_that_of_the_finite_cosines() -> None:
    nan = float("nan")
    assert mean_cosines({"a-b": ([1, 2, 3], [0.5, nan, 0.1])}) == {"a-b": 0.3}
    assert str(mean_cosines({"a-b": ([1], [nan])})["a-b"]) == "nan"
