"""One step on N GPUs: its bytes, messages, memory and time."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.scale.machine import Machine
from cluster.scale.model_shape import ModelShape
from cluster.scale.rank_work import StepWork
from cluster.scale.shares import Counts, Shares
from cluster.scale.step_time import RankMemory, StepTime, compute_seconds, rank_memory, step_time
from cluster.scale.traffic import Collective, Traffic
from cluster.step.buckets import bucket_elements
from cluster.step.wire import block_size
from multitask.config import RunConfig


@dataclass(frozen=True)
class StepPlan:
    """One step on `gpus` devices; `host_of` (N,): of each; `memory`, `time`, `collectives`: as their classes say. `balance`: the mean rank's passes over the slowest's."""

    gpus: int
    host_of: Counts
    work: StepWork
    collectives: tuple[Collective, ...]
    memory: RankMemory
    time: StepTime
    balance: float
    launches: int
    share_of_peak: float

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second, all devices together."""
        return float(self.work.tokens.sum()) / self.time.total

    @property
    def sent(self) -> tuple[int, int, int]:
        """Bytes of the rank that sends most, bytes of the host that sends most to others, and messages of a rank."""
        if not self.collectives:
            return 0, 0, 0
        sent = sum((call.sent for call in self.collectives), np.zeros(self.gpus, np.int64))
        outside = sum((call.outside for call in self.collectives), np.zeros(self.gpus, np.int64))
        per_host = np.bincount(self.host_of, weights=outside)
        return int(sent.max()), int(per_host.max()), sum(call.messages for call in self.collectives)

    @property
    def hosts(self) -> int:
        """How many hosts."""
        return int(self.host_of[-1]) + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        sent, outside, messages = self.sent
        return {
            "gpus": self.gpus,
            "hosts": self.hosts,
            "rows": self.work.rows,
            "tokens": int(self.work.tokens.sum()),
            "padding": 1 - float(self.work.tokens.sum() / self.work.slots.sum()),
            "groups": self.work.groups,
            "step_s": self.time.total,
            "time": asdict(self.time),
            "tokens_per_s": self.tokens_per_s,
            "share_of_peak": self.share_of_peak,
            "balance": self.balance,
            "bytes_per_rank": sent,
            "bytes_out_of_a_host": outside,
            "messages_per_rank": messages,
            "collectives": [
                {"name": c.name, "kind": c.kind, "bytes": int(c.sent.max()), "messages": c.messages}
                for c in self.collectives
            ],
            "launches": self.launches,
            "memory": asdict(self.memory) | {"total": self.memory.total},
        }


def plan_step(
    config: RunConfig, shape: ModelShape, machine: Machine, work: StepWork, gpus: int, per_host: int
) -> StepPlan:
    """What `work` costs on `gpus` devices, `per_host` on a host, for a model of this `shape`."""
    hosts = np.arange(gpus) // per_host
    shares = Shares(shape.groups, gpus, config.zero.stage)
    weight_bytes = 2 if config.precision == "bf16" else 4
    terms = sum(bool(getattr(config.regularization, name)) for name in type(config.regularization).model_fields)
    block = block_size(hosts.tolist()) if config.cluster.host_first else gpus
    calls = Traffic(shape, shares, hosts, block, weight_bytes=weight_bytes, cluster=config.cluster).of(work, terms)
    time = step_time(shape, shares, work, calls, machine, hosts)
    passes = np.maximum(*compute_seconds(shape, work, machine))
    flops = shape.cost.flops.of(*(float(own.sum()) for own in (work.tokens, work.squares, work.sequences)))
    return StepPlan(
        gpus=gpus,
        host_of=hosts,
        work=work,
        collectives=tuple(calls),
        memory=rank_memory(
            shape,
            shares,
            work,
            weight_bytes=weight_bytes,
            state_bytes=4 if config.precision == "fp32" else 2,
            plain_attention=machine.devices_at_once is not None,
            most=bucket_elements(config.cluster.bucket_mb),
            block=block,
        ),
        time=time,
        balance=float(passes.mean() / passes.max()),
        launches=int(shape.cost.launches * work.passes.max()),
        share_of_peak=flops / time.total / (machine.peak * gpus),
    )
