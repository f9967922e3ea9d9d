"""`concord plan`: the step of a recipe on N GPUs, its bytes, messages, memory and time, without any of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cluster.scale.machine import Machine
from cluster.scale.model_shape import ModelShape, model_shape
from cluster.scale.rank_work import StepRows, StepWork, step_work
from cluster.scale.shares import Counts, Shares
from cluster.scale.step_time import RankMemory, StepTime, compute_seconds, rank_memory, step_time
from cluster.scale.traffic import Collective, Traffic
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig
from multitask.data import TaskTable
from multitask.errors import UserError
from multitask.work import WorkSource


@dataclass(frozen=True)
class StepPlan:
    """One step on `gpus` devices; `memory`, `time`, `collectives`: as their classes say. `balance`: the mean rank's passes over the slowest's."""

    gpus: int
    hosts: int
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
    def host_of(self) -> Counts:
        """(N,) the host of each rank."""
        return np.arange(self.gpus) // -(-self.gpus // self.hosts)

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


class Simulation:
    """A recipe's steps on any number of devices; `tables`: its training tables.

    Raises:
        UserError: what it trains cannot be planned.
    """

    def __init__(
        self, config: RunConfig, tables: Mapping[str, TaskTable], machine: Machine, shape: ModelShape | None = None
    ) -> None:
        _check(config)
        self.config, self.machine, self._tables = config, machine, tables
        source = WorkSource(config, tables, 0, 0, 1, all_tasks=False)
        self.rows = StepRows(config, tables, source)
        self.combination = build_combination(config, Setting(source.used_rows(), self.rows.schedule.steps, config.seed))
        self._shape = shape

    @cached_property
    def shape(self) -> ModelShape:
        """Of the model."""
        return self._shape or model_shape(self.config, self.combination.granularity)

    def step(self, gpus: int, per_host: int = 8, rows_per_gpu: int | None = None, step: int = 0) -> StepPlan:
        """Step number `step`, of the recipe's own rows or of `rows_per_gpu` on each device."""
        rows = self.rows.rows(step, None if rows_per_gpu is None else rows_per_gpu * gpus)
        work = step_work(self.config, self.shape, self.combination, self._tables, rows, gpus, step)
        return self.plan(work, gpus, per_host)

    def plan(self, work: StepWork, gpus: int, per_host: int) -> StepPlan:
        """What `work` costs."""
        config, shape, machine = self.config, self.shape, self.machine
        hosts = np.arange(gpus) // per_host
        shares = Shares(shape.groups, gpus, config.zero.stage)
        weight_bytes = 2 if config.precision == "bf16" else 4
        terms = sum(bool(getattr(config.regularization, name)) for name in type(config.regularization).model_fields)
        calls = Traffic(shape, shares, hosts, weight_bytes=weight_bytes).of(work, terms)
        time = step_time(shape, shares, work, calls, machine, hosts)
        passes = np.maximum(*compute_seconds(shape, work, machine))
        flops = shape.cost.flops.of(*(float(own.sum()) for own in (work.tokens, work.squares, work.sequences)))
        return StepPlan(
            gpus=gpus,
            hosts=int(hosts[-1]) + 1,
            work=work,
            collectives=tuple(calls),
            memory=rank_memory(
                shape,
                shares,
                work,
                weight_bytes=weight_bytes,
                state_bytes=4 if config.precision == "fp32" else 2,
                plain_attention=machine.devices_at_once is not None,
            ),
            time=time,
            balance=float(passes.mean() / passes.max()),
            launches=int(shape.cost.launches * work.passes.max()),
            share_of_peak=flops / time.total / (machine.peak * gpus),
        )


def _check(config: RunConfig) -> None:
    if config.zero.stage == 3:
        raise UserError(
            "zero.stage: the messages of ZeRO 3 are DeepSpeed's own and are not planned; plan with zero.stage=1"
        )
    compared = [name for name, task in config.tasks.items() if task.compares_rows]
    if compared:
        raise UserError(f"tasks.{compared[0]}: its loss runs between rows, which plan does not know; leave it out")
