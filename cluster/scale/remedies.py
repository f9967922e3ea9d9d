"""What to change about a plan, and why: sentences for people."""

from collections.abc import Iterator

from cluster.scale.machine import Machine
from cluster.scale.step_plan import StepPlan
from multitask.config import RunConfig

_MUCH, _UNEVEN = 0.2, 0.8
_GIB = 2**30


def remedies(config: RunConfig, plan: StepPlan, machine: Machine, efficiency: float) -> Iterator[str]:
    """The largest costs first, each with the keys that lower it."""
    if plan.memory.total > machine.memory_bytes:
        yield from _memory(config, plan, machine)
    time = plan.time
    if time.network > _MUCH * time.total:
        yield from _network(config, plan)
    if time.launch_bound and time.compute > _MUCH * time.total:
        yield (
            f"{plan.launches:,} operations a step are launched slower than the GPU computes them: more rows for each GPU "
            "(tasks.<task>.batch_size, or fewer GPUs)"
        )
    if plan.balance < _UNEVEN:
        yield (
            f"the mean rank computes {plan.balance:.0%} of the time of the slowest: few rows each, so that some ranks hold two "
            "tasks and others one; more rows for each GPU"
        )
    if time.memory > _MUCH * time.total and plan.work.groups > 1:
        yield (
            f"copying and comparing {plan.work.groups} gradients takes {time.memory / time.total:.0%}: combination.groups, if the method "
            "has it, or combination.every"
        )
    if efficiency >= 1 - _MUCH / 2:
        yield f"nothing: {efficiency:.0%} of {plan.gpus} times one GPU"


def _memory(config: RunConfig, plan: StepPlan, machine: Machine) -> Iterator[str]:
    needed, there = plan.memory.total / _GIB, machine.memory_bytes / _GIB
    largest = max(("weights", "optimizer", "gradients", "activations"), key=lambda part: getattr(plan.memory, part))
    keys = {
        "weights": "zero.stage=3" if config.precision == "fp16" else "precision=bf16, or zero.stage=3",
        "optimizer": "more GPUs: it is shared among them",
        "gradients": "fewer groups of tasks apart (combination)",
        "activations": "training.accumulation, a smaller batch_size or data.max_length",
    }
    yield f"{needed:.1f} GiB do not fit into {there:.0f}; {largest} are most of it: {keys[largest]}"


def _network(config: RunConfig, plan: StepPlan) -> Iterator[str]:
    share = plan.time.network / plan.time.total
    longest = max(plan.collectives, key=lambda call: int(call.sent.max()))
    yield (
        f"the network takes {share:.0%} of a step, {longest.name} most of the bytes: more rows for each GPU and step "
        "(tasks.<task>.batch_size), or a faster network"
    )
    # Who says fp16 has a GPU without bf16.
    if config.precision not in ("bf16", "fp16"):
        yield "precision=bf16 halves the bytes of the weights that are gathered"
