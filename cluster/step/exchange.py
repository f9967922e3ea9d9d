"""Task gradients from where they are computed to where their shards are owned, while the backward pass goes on.

Every rank computes gradients of a few task groups, each over all shared parameters. These leave in buckets, as soon as the last
backward pass of the groups that are sent together has gone through a bucket's parameters: an all-to-all sends each rank the parts that it
owns, and there they are summed. Where hosts have several ranks, the ranks of each host are summed first, and then the hosts (`cluster.step.wire`). So the group gradients, averaged over all ranks, lie sharded exactly as the optimizer wants its combined
gradient, and inner products are sums over shards.

Under ZeRO 1 and 2 a rank computes few groups (`multitask.sampling.split_round`) and sends them together in its last pass; what it sends
does not grow with their number G. Under ZeRO 3 every rank computes a part of every task, and each group leaves by itself. What has one
pass only is never held whole: two buckets are underway at most. What several passes add to is held until the last of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from cluster.step.buckets import Bucket, cut
from cluster.step.gradient_memory import GradientMemory, Part, SpareMemory, in_place, owner_major
from cluster.step.layout import Layout
from cluster.step.shard_sums import HEADS, Entry, ShardSums
from cluster.step.stages import Holders, Stage, stages_of


class GradientExchange:
    """Takes this rank's gradients of a step as they come, and gives its shards of their sums over all ranks.

    Per step: `begin`; `receiving` around each backward pass; `finish`. `head_names`: task to the parameters of its head; `most`:
    elements that are sent at a time, about.
    """

    def __init__(
        self, shared: Layout, heads: Layout, head_names: Mapping[str, Iterable[str]], sums: ShardSums, most: int
    ) -> None:
        sizes = {name: sum(place.fragment.size for place in places) for name, places in shared.places.items()}
        self._buckets = [Bucket(shared, names) for names in cut(sizes, most)]
        self._heads = {task: Bucket(heads, list(names)) for task, names in head_names.items()}
        self._number = {name: b for b, bucket in enumerate(self._buckets) for name in bucket.names}
        self.sums, self._rank, self._alone = sums, sums.rank, len(shared.segments) == 1
        self._spare = SpareMemory(self._buckets, sums.block, sums.head.device)
        self._nothing = sums.head[:0], GradientMemory(Bucket(shared, []), [], sums.head)
        self._in_place: dict[tuple[int, int], list[GradientMemory]] = {}

    def begin(self, holders: Holders, groups: int) -> None:
        """A step of so many groups."""
        self._tasks = holders.tasks
        self.sums.begin(groups, set(range(groups)).difference(*holders.groups))
        self._stages = stages_of(holders, self._rank)
        self._head_flat, self._of_heads = self._memory_of_heads(holders.tasks[self._rank])
        if self._alone:
            self._rows = self._memory_of_rows()

    def _memory_of_rows(self) -> list[GradientMemory]:
        """Alone, gradients are added where their sums shall be."""
        rows = self.sums.rows
        key = rows.data_ptr(), len(rows)
        if key not in self._in_place:
            self._in_place = {key: [GradientMemory(b, in_place(b, rows), rows.view(-1)) for b in self._buckets]}
        for memory in self._in_place[key]:
            memory.clear()
        return self._in_place[key]

    def _memory_of_heads(self, tasks: Sequence[str]) -> tuple[Tensor, dict[str, GradientMemory]]:
        buckets = {task: self._heads[task] for task in tasks}
        if self._alone:
            head = self.sums.head
            return head, {task: GradientMemory(b, in_place(b, head[None]), head) for task, b in buckets.items()}
        flat = self.sums.head.new_empty(sum(bucket.size for bucket in buckets.values()))
        bases = owner_major([bucket.sizes for bucket in buckets.values()], self.sums.block)
        made = {t: GradientMemory(b, [base], flat) for (t, b), base in zip(buckets.items(), bases, strict=True)}
        return flat, made

    def add_heads(self, task: str, gradients: Mapping[str, Tensor | None]) -> None:
        """Add to the gradient of the head of `task`."""
        self._of_heads[task].add(0, {name: g for name, g in gradients.items() if g is not None})

    @contextmanager
    def receiving(self, group: int) -> Iterator[Callable[[str, Tensor], None]]:
        """Around one backward pass of `group`: takes a shared parameter's name and gradient as soon as it is there."""
        stage = next(stage for stage in self._stages if group in stage.held)
        stage.left -= 1
        found: dict[str, Tensor] = {}
        missing = [len(bucket.names) for bucket in self._buckets]
        done = 0

        def take(name: str, gradient: Tensor) -> None:
            nonlocal done
            found[name] = gradient
            missing[self._number[name]] -= 1
            while done < len(missing) and not missing[done]:
                self._arrived(stage, group, done, found)
                done += 1

        yield take
        for bucket in range(done, len(missing)):
            self._arrived(stage, group, bucket, found)

    def _arrived(self, stage: Stage, group: int, number: int, found: dict[str, Tensor]) -> None:
        """A pass has gone through bucket `number`."""
        names = self._buckets[number].names
        gradients = {name: found.pop(name) for name in names if name in found}
        if self._alone:
            self._rows[number].add(group, gradients)
            return
        flat, memory = self._memory(stage, number)
        memory.add(stage.held.index(group), gradients)
        if stage.left == 0:
            self._send(stage, flat, memory)

    def _memory(self, stage: Stage, number: int) -> Part:
        """Where bucket `number` of what the stage sends is gathered."""
        if not stage.held:
            return self._nothing
        if not stage.keeps:
            self.sums.wait(1)
            return self._spare.bucket(number)
        if stage.memory is None:
            self._release()
            stage.memory = self._spare.whole(len(stage.held))
        return stage.memory.parts[number]

    def _send(self, stage: Stage, flat: Tensor, memory: GradientMemory) -> None:
        """Send the stage's next bucket."""
        memory.finish()
        bucket = self._buckets[stage.sent]
        self.sums.wait(1)
        self.sums.send([[Entry(group, bucket) for group in held] for held in stage.groups], flat)
        stage.sent += 1

    def _release(self) -> None:
        """Wait for all that is underway, and take back the memory of stages that have been sent."""
        self.sums.wait(0)
        for stage in self._stages:
            if stage.memory and stage.sent == len(self._buckets):
                self._spare.give_back(stage.memory)
                stage.memory = None

    def finish(self) -> tuple[list[Tensor], Tensor]:
        """This rank's shard of each group gradient and of the heads' gradient; all ranks take part. They hold until the next step."""
        for memory in [*self._of_heads.values(), *(self._rows if self._alone else ())]:
            memory.finish()
        if not self._alone:
            for stage in self._stages:
                while stage.sent < len(self._buckets):
                    self._send(stage, *self._memory(stage, stage.sent))
            entries = [[Entry(HEADS, self._heads[task]) for task in tasks] for tasks in self._tasks]
            self.sums.send(entries, self._head_flat)
            self._release()
        return list(self.sums.rows), self.sums.head
