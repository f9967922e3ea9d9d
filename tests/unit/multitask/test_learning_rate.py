"""The learning rate of every step, beside torch's schedulers and by hand."""

from typing import Any

import pytest
import torch

from multitask.config import RunConfig, parse_config
from multitask.config.training import ScheduleConfig
from multitask.learning_rate import LearningRate, scheduled_share
from multitask.sampling import Schedule, task_sizes

ROWS = {"sst": 60, "quora": 30, "sts": 12}


def _rates(tiny_tasks: dict[str, Any], **changes: Any) -> tuple[RunConfig, Schedule, list[float]]:
    config = parse_config(tiny_tasks | {"combination": {"name": "sum"}} | changes, "test")
    schedule = Schedule(config, [task_sizes(config, phase, ROWS) for phase in range(len(config.phases))])
    lr = LearningRate(config, schedule)
    return config, schedule, [lr.at(step) for step in range(schedule.steps)]


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_is_torchs(tiny_tasks: dict[str, Any], decay: str) -> None:
    schedule = {"warmup": 0.0, "decay": decay}
    _, _, rates = _rates(tiny_tasks, schedule=schedule, phases=[{"steps_per_epoch": 20}])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = (
        torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 20)
        if decay == "linear"
        else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    )
    wanted = []
    for _ in range(20):
        wanted.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert rates == pytest.approx(wanted)


def test_warmup_then_constant(tiny_tasks: dict[str, Any]) -> None:
    schedule = {"warmup": 0.4, "decay": "constant"}
    _, _, rates = _rates(tiny_tasks, schedule=schedule, phases=[{"steps_per_epoch": 10}])
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3] + [1e-3] * 6)


def test_phases_have_their_own_peak_and_may_have_their_own_schedule(tiny_tasks: dict[str, Any]) -> None:
    phases = [{"steps_per_epoch": 4, "lr": 3e-5}, {"steps_per_epoch": 4}]
    schedule = {"warmup": 0.0, "decay": "linear"}
    _, _, run = _rates(tiny_tasks, schedule=schedule, phases=phases)
    assert run == pytest.approx([3e-5 * (1 - s / 8) for s in range(4)] + [1e-3 * (1 - s / 8) for s in range(4, 8)])
    _, _, phase = _rates(tiny_tasks, schedule=schedule | {"per": "phase"}, phases=phases)
    assert phase == pytest.approx([p * (1 - s / 4) for p in (3e-5, 1e-3) for s in range(4)])


def test_every_task_has_its_own_schedule(tiny_tasks: dict[str, Any]) -> None:
    """Paper E: a separate optimizer per task, each with its own decay over its own steps."""
    optimizer = {"name": "adamw", "lr": 1e-3, "per_task": True}
    phases = [{"sampling": {"name": "sequential"}, "epochs": 2}]
    schedule = {"warmup": 0.0, "decay": "linear"}
    _, plan, rates = _rates(tiny_tasks, schedule=schedule, phases=phases, optimizer=optimizer)
    for task, steps in (("sst", 20), ("quora", 10), ("sts", 4)):
        own = [rate for step, rate in enumerate(rates) if plan.round(step).tasks == (task,)]
        assert own == pytest.approx([1e-3 * (1 - s / steps) for s in range(steps)])


@pytest.mark.parametrize("per", ["run", "phase"])
def test_own_schedules_span_the_run_or_the_phase(tiny_tasks: dict[str, Any], per: str) -> None:
    """Tasks that come at random: each warms up and decays over its own steps, each phase with its own peak."""
    phases = [{"sampling": {"name": "uniform"}, "steps_per_epoch": n, "lr": lr} for n, lr in ((50, 1e-3), (30, 1e-4))]
    config, plan, rates = _rates(
        tiny_tasks,
        schedule={"warmup": 0.3, "decay": "cosine", "per": per},
        phases=phases,
        optimizer={"name": "adamw", "per_task": True},
    )
    for task in ROWS:
        steps = [step for step in range(80) if plan.round(step).tasks == (task,)]
        assert any(step < 50 for step in steps)
        assert any(step >= 50 for step in steps)
        parts = [steps] if per == "run" else [[s for s in steps if s < 50], [s for s in steps if s >= 50]]
        for part in parts:
            wanted = [scheduled_share(place, len(part), config.schedule) for place in range(len(part))]
            found = [rates[step] / (1e-3 if step < 50 else 1e-4) for step in part]
            assert found == pytest.approx(wanted)


@pytest.mark.parametrize("per_task", [True, False])
def test_rate_of_a_step_does_not_depend_on_the_steps_asked_before(tiny_tasks: dict[str, Any], per_task: bool) -> None:
    """Resuming is arithmetic: the rate of any step, in any order, on a fresh object."""
    phases = [{"sampling": {"name": "sequential"}}, {"sampling": {"name": "square_root"}, "lr": 1e-4}]
    optimizer = {"name": "adamw", "per_task": per_task}
    config, plan, rates = _rates(tiny_tasks, schedule={"per": "phase"}, phases=phases, optimizer=optimizer)
    resumed = LearningRate(config, plan)
    assert [resumed.at(step) for step in reversed(range(plan.steps))] == rates[::-1]


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.6), (2, 0.1), (3, 0.99), (1000, 0.1)])
@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
def test_every_step_of_a_run_of_any_length_learns(decay: str, steps: int, warmup: float) -> None:
    rates = [scheduled_share(s, steps, ScheduleConfig(warmup=warmup, decay=decay)) for s in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == 1.0
    assert min(rates) > 0
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
