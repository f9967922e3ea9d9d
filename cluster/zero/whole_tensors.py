"""Optimizers that look at whole tensors, under ZeRO.

DeepSpeed gives a rank a flat shard of each group, in which a parameter may be cut anywhere. For each parameter the
rank that holds most of it gets the whole gradient, steps the whole weight in its own shape, and sends the new
fragments back to the shards. Under ZeRO 1 and 2 few parameters are cut, so little is sent; under ZeRO 3 all are.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.zero.partition import Fragment, Partition

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class _Route:
    """Between the fragments of a group's parameters and the ranks that step them whole."""

    def __init__(self, names: list[str], partition: Partition) -> None:
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._places = [{n: rank[n] for n in names if n in rank} for rank in partition.owned]
        self.owner = self._owners(names)
        self.mine = [name for name in names if self.owner[name] == self._rank]
        held = self._places[self._rank]
        self._outgoing = [[held[n] for n in names if n in held and self.owner[n] == r] for r in range(self._world)]
        self._incoming = [[(n, own[n]) for n in self.mine if n in own] for own in self._places]

    def gather(self, flat: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """This rank's flat shard to the whole flat tensors of the parameters that it steps."""
        parts = [flat[f.offset : f.offset + f.size] for own in self._outgoing for f in own]
        received = self._exchange(parts, flat, _sizes(self._outgoing), [[f for _, f in own] for own in self._incoming])
        whole = {name: flat.new_empty(sizes[name]) for name in self.mine}
        for (name, fragment), part in zip(self._expected(), received, strict=True):
            whole[name][fragment.start : fragment.start + fragment.size] = part
        return whole

    def scatter(self, whole: Mapping[str, Tensor], flat: Tensor) -> None:
        """Whole flat tensors of the parameters that this rank steps into everybody's flat shards."""
        parts = [whole[name][f.start : f.start + f.size] for name, f in self._expected()]
        outgoing = [[f for _, f in own] for own in self._incoming]
        received = self._exchange(parts, flat, _sizes(outgoing), self._outgoing)
        for fragment, part in zip((f for own in self._outgoing for f in own), received, strict=True):
            flat[fragment.offset : fragment.offset + fragment.size] = part

    def _expected(self) -> Iterator[tuple[str, Fragment]]:
        return ((name, fragment) for own in self._incoming for name, fragment in own)

    def _exchange(
        self, parts: list[Tensor], like: Tensor, give: list[int], incoming: list[list[Fragment]]
    ) -> list[Tensor]:
        """Send `parts` in the order of the ranks; give back what comes, one tensor for each fragment of `incoming`."""
        sent = torch.cat(parts) if parts else like.new_empty(0)
        take = _sizes(incoming)
        received = sent
        if self._world > 1:
            received = like.new_empty(sum(take))
            dist.all_to_all_single(received, sent, take, give)
        return list(received.split([f.size for own in incoming for f in own]))

    def _owners(self, names: list[str]) -> dict[str, int]:
        """Each parameter to the rank that holds most of it; of several that hold as much, to the one with least to do."""
        owners, load = {}, [0] * self._world
        for name in names:
            sizes = [own[name].size if name in own else 0 for own in self._places]
            # Under ZeRO 3 the last rank's part may be a little smaller for the padding in it.
            candidates = [rank for rank, size in enumerate(sizes) if 2 * size > max(sizes)]
            owners[name] = min(candidates, key=lambda rank: load[rank])
            load[owners[name]] += sum(sizes)
        return owners


def _sizes(fragments: list[list[Fragment]]) -> list[int]:
    return [sum(f.size for f in own) for own in fragments]


class WholeTensorOptimizer(torch.optim.Optimizer):
    """Steps `make`'s optimizer on whole tensors, wherever DeepSpeed has cut them.

    Before its first step it must be told of the cut (`attach`). `task` says whose moments a step uses.
    """

    def __init__(self, groups: list[dict[str, Any]], make: Make) -> None:
        self._make = make
        self._shapes = {n: p.shape for g in groups for n, p in zip(g["names"], g["params"], strict=True)}
        self._sizes = {name: shape.numel() for name, shape in self._shapes.items()}
        super().__init__(groups, {"lr": 0.0})
        # DeepSpeed shows a step one group at a time.
        self._groups = list(self.param_groups)
        self._routes: list[_Route] = []
        self._masters: tuple[Tensor, ...] = ()
        self.weights: dict[str, nn.Parameter] = {}
        self._inner: dict[tuple[str | None, int], torch.optim.Optimizer] = {}
        self._options: dict[tuple[str | None, int], frozenset[str]] = {}
        self.task: str | None = None

    def attach(self, partition: Partition) -> None:
        """Take over how DeepSpeed has cut the groups; all ranks take part."""
        self._masters = partition.masters
        self._routes = [_Route(group["names"], partition) for group in self.param_groups]
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights in the shards, which were changed from outside; all ranks take part."""
        for master, route in zip(self._masters, self._routes, strict=True):
            for name, flat in route.gather(master, self._sizes).items():
                weight = self.weights.setdefault(
                    name, nn.Parameter(torch.empty(self._shapes[name], device=flat.device))
                )
                weight.copy_(flat.view(self._shapes[name]))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of the groups that are not idle; all ranks take part."""
        for group in self.param_groups:
            if not group["params"] or group.get("idle"):
                continue
            [shard] = group["params"]
            number, route = group["number"], self._routes[group["number"]]
            gradients = route.gather(shard.grad, self._sizes)
            for name, gradient in gradients.items():
                self.weights[name].grad = gradient.view(self._shapes[name])
            if route.mine:
                inner = self.inner(self.task, number)
                inner.param_groups[0]["lr"] = group["lr"]
                inner.step()
            for name in route.mine:
                self.weights[name].grad = None
            route.scatter({name: self.weights[name].reshape(-1) for name in route.mine}, shard)

    def inner(self, task: str | None, number: int) -> torch.optim.Optimizer:
        """The optimizer of this rank's parameters of group `number`, made at its first use."""
        if (task, number) not in self._inner:
            group = self._groups[number]
            options: dict[str, Any] = {k: group[k] for k in ("weight_decay", "decay", "use_muon") if k in group}
            weights = [self.weights[name] for name in self._routes[number].mine]
            self._inner[task, number] = self._make([{"params": weights, **options}])
            self._options[task, number] = frozenset(self._inner[task, number].param_groups[0])
        return self._inner[task, number]

    @property
    def made(self) -> dict[tuple[str | None, int], torch.optim.Optimizer]:
        """(task, group number) to optimizer, of all that have been used."""
        return dict(self._inner)

    def options_of(self, task: str | None, number: int) -> frozenset[str]:
        """Keys of a group of `made` that are settings; those that came later are counters."""
        return self._options[task, number]

    def mine(self, number: int) -> list[str]:
        """Names of the parameters of group `number` that this rank steps."""
        return self._routes[number].mine
