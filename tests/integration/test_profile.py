"""`concord profile` on the tiny encoder, in one process and in two of torchrun's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tiny_config
from tests.integration.commands import CONCORD, TORCHRUN, environment, write_recipe


def _profile(command: list[str], folder: Path, tiny_bert: Path, place: Path, *more: str) -> dict[str, Any]:
    tree = tiny_config(
        folder,
        encoder={"name": str(tiny_bert)},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 3}],
        cluster={"peak_tflops": 0.01},
    )
    recipe = write_recipe(place / "recipe.yaml", tree)
    arguments = ["profile", str(recipe), "--steps", "4", "--json", "--trace", str(place / "trace.json"), *more]
    done = subprocess.run(
        [*command, *arguments], cwd=place, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_shares_figures_and_trace(folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    found = _profile(CONCORD, folder, tiny_bert, tmp_path)
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.02)
    assert {"forward", "backward", "data", "communicate", "combine", "optimizer", "host"} <= set(found["shares"])
    assert found["shares"]["backward"] > 0.05
    assert found["shares"]["forward"] > 0.05
    figures = found["figures"]
    assert 0 < figures["throughput/mfu"] < 1
    assert "throughput/slowest_rank" not in figures
    assert figures["throughput/tokens_per_s"] * found["step_s"] == pytest.approx(18 * 13, rel=0.6)
    taken = [own["share"] for own in found["operations"]]
    assert taken == sorted(taken, reverse=True)
    assert all(own["name"].startswith("aten::") and own["calls"] >= 1 for own in found["operations"])
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"forward/backward", "optimizer", "data"} <= {own.get("name") for own in events}
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_ranks_tell_who_is_slowest(folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    found = _profile(TORCHRUN, folder, tiny_bert, tmp_path)
    assert found["workers"] == 2
    assert found["figures"]["throughput/slowest_rank"] in (0, 1)
    assert 1 <= found["figures"]["throughput/slowest_over_mean"] <= 2


def test_run_that_is_too_short_is_refused(folder: Path, tiny_bert: Path, tmp_path: Path, concord: Any) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", tiny_config(folder, encoder={"name": str(tiny_bert)}))
    ended = concord("profile", str(recipe), "--steps", "1000")
    assert ended.code == 2
    assert ended.err.strip().splitlines()[-1].startswith("concord: profile: the run has 10 steps, and 1006 are needed")
