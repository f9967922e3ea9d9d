"""How long a step takes and what it holds: FLOPs, bytes of memory and messages over what a machine does of them in a second."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from cluster.scale.machine import Machine
from cluster.scale.model_shape import ModelShape
from cluster.scale.rank_work import StepWork
from cluster.scale.shares import Counts, Shares
from cluster.scale.traffic import GRADIENTS, Collective

_FP32 = 4
# Share of the backward pass in both passes.
_BACKWARD = 2 / 3
# Times that AdamW touches each element of its shard: weight, gradient and two moments read, weight and moments written.
_ADAMW = 7
# Gradients from which on a row is read once for all its inner products.
_MATRICES = 4


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by the slowest rank of each part.

    `compute`: forward and backward; `launch_bound`: whether the time to launch operations decides it. `memory`: task gradients copied, summed,
    compared and combined, and the optimizer. `network`: collectives that are waited for; `hidden`: those that run under the backward pass
    meanwhile, the buckets of gradients of a rank's last pass.
    """

    compute: float
    memory: float
    network: float
    hidden: float
    launch_bound: bool

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.memory + self.network


@dataclass(frozen=True)
class RankMemory:
    """Bytes of the rank that holds most.

    `weights`: of the model; `optimizer`: fp32 weights, moments and gradient of its shard; `gradients`: its shards of the task gradients,
    and what waits, is sent and received; `activations`: kept for the backward pass.
    """

    weights: int
    optimizer: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def compute_seconds(shape: ModelShape, work: StepWork, machine: Machine) -> tuple[Counts, Counts]:
    """Seconds (N,) of each rank's passes by their FLOPs, and by their launches."""
    cost = shape.cost.flops
    flops = cost.once * work.sequences + cost.linear * work.slots + cost.quadratic * work.squares
    return flops / machine.flops, shape.cost.launches * work.passes * machine.launch_s


def step_time(
    shape: ModelShape, shares: Shares, work: StepWork, calls: Sequence[Collective], machine: Machine, hosts: Counts
) -> StepTime:
    """Seconds of a step."""
    by_flops, by_launches = compute_seconds(shape, work, machine)
    # More processes than can run at once take turns.
    turns = max(1.0, shares.world / machine.devices_at_once) if machine.devices_at_once else 1.0
    moved = _moved(shape, shares, work, machine)
    passes = np.maximum(by_flops, by_launches)
    compute, last_pass = passes.max() * turns, passes.max() / work.passes[passes.argmax()]
    # The last bucket leaves when the backward pass is over; on a CPU the pass and what sends share its cores.
    last = max((int(call.name.split()[1]) for call in calls if call.name.startswith(GRADIENTS)), default=0)
    under = [call for call in calls if call.name.startswith(GRADIENTS) and int(call.name.split()[1]) < last]
    hidden = sum(collective_seconds(call, machine, hosts) for call in under)
    hidden = 0.0 if machine.devices_at_once else min(hidden, _BACKWARD * last_pass)
    return StepTime(
        compute=float(compute),
        memory=float(moved.max()) / machine.memory_bytes_per_s * turns,
        network=sum(collective_seconds(call, machine, hosts) for call in calls) - float(hidden),
        hidden=float(hidden),
        launch_bound=bool(by_launches.max() > by_flops.max()),
    )


def collective_seconds(call: Collective, machine: Machine, hosts: Counts) -> float:
    """Latency, and the slower of the links inside the hosts and out of them."""
    world = len(hosts)
    outside = np.bincount(hosts, weights=call.outside).max() / machine.outside_bytes_per_s
    inside = float((call.sent - call.outside).max()) / machine.inside_bytes_per_s
    number = int(hosts[-1]) + 1 if call.outside.any() else 1
    latency = machine.outside_s if number > 1 else machine.inside_s
    # What goes round passes every host once.
    crossings = min(number, call.messages) if number > 1 else 0
    waits = {
        "all_reduce": 2 * np.ceil(np.log2(world)) * latency,  # few numbers go up and down a tree
        "all_gather": crossings * machine.outside_s + (call.messages - crossings) * machine.inside_s,
        "all_to_all": latency + call.messages * machine.message_s,
    }
    return float(waits[call.kind] + max(outside, inside))


def _moved(shape: ModelShape, shares: Shares, work: StepWork, machine: Machine) -> Counts:
    """Bytes (N,) that a rank reads and writes beside its passes."""
    dense, heads = shape.elements(shape.dense), sum(shape.elements(own) for own in shape.heads.values())
    held = np.array([len(own) for own in work.held])
    segment = shares.owned(shape.dense)
    copied = 2 * (held * dense + heads)
    summed = (3 * (held.sum() - work.groups) if shares.world > 1 else 0) * segment
    compared = _compared(work.groups, in_cache=machine.devices_at_once is not None) * segment
    combined = (3 * work.groups - 1) * segment
    return _FP32 * (copied + summed + compared + combined + _ADAMW * sum(shares.shards))


def _compared(groups: int, *, in_cache: bool) -> float:
    """How often an element is read for the inner products of so many gradients, as `multitask.combination.gramian` takes them."""
    if groups == 1:
        return 0
    if in_cache:
        return groups
    return groups * (groups + 1) if groups < _MATRICES else groups * (groups + 1) / 2 + groups


def _gradient_bytes(shape: ModelShape, shares: Shares, work: StepWork, most: int, weight_bytes: int, block: int) -> int:
    """Of task gradients, of the rank that holds most, in buckets of at most `most` elements and blocks of `block` ranks.

    Shards of the sums; one bucket that comes from the backward pass; two that are sent, or all that several passes add to; two that come,
    from the ranks of the block and from other blocks.
    """
    dense, segment = shape.elements(shape.dense), shares.owned(shape.dense)
    bucket = min(dense, max([most, *(shape.elements((name,)) for name in shape.dense)]))
    held = np.array([len(own) for own in work.held])
    sums, arriving = work.groups * segment, weight_bytes * bucket
    if shares.world == 1:
        return int(_FP32 * sums.max() + arriving)
    sent = np.where(work.passes > 1, held * dense, 2 * bucket)
    # What the owners have that share a number in their blocks, and what the ranks of a block hold, one by one and together.
    of_number = np.tile(segment.reshape(-1, block).sum(0), shares.world // block)
    of_block = np.repeat(held.reshape(-1, block).sum(1), block)
    coming = of_block * of_number
    if block < shares.world:
        summed = [len({g for own in work.held[b : b + block] for g in own}) for b in range(0, shares.world, block)]
        coming = coming + np.repeat(summed, block) * of_number + sum(summed) * segment
    received = 2 * coming * bucket // max(1, dense)
    return int(_FP32 * (sums + sent + received).max() + arriving)


def rank_memory(
    shape: ModelShape,
    shares: Shares,
    work: StepWork,
    *,
    weight_bytes: int,
    state_bytes: int,
    plain_attention: bool,
    most: int,
    block: int,
) -> RankMemory:
    """Bytes of the rank that holds most; `state_bytes`: of a number that the forward pass keeps, `weight_bytes` of a
    weight; `plain_attention`: its L × L matrices are kept; `most`: elements of a bucket of gradients; `block`: ranks whose gradients
    are summed before they cross to others.
    """
    saved = shape.cost.saved
    passes = np.maximum(work.passes, 1)
    activations = 0.0
    if saved is not None:
        matrices = saved.quadratic * work.squares if plain_attention else 0
        kept = (saved.once * work.sequences + saved.linear * work.slots + matrices) / passes
        activations = float(kept.max()) * state_bytes / _FP32
    weights = weight_bytes * (sum(shares.shards) if shares.stage == 3 else shape.whole)
    return RankMemory(
        weights=weights,
        optimizer=4 * _FP32 * sum(shares.shards),
        gradients=_gradient_bytes(shape, shares, work, most, weight_bytes, block),
        activations=int(activations),
    )
