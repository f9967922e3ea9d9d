"""How a thread of each rank agrees with those of the others while the ranks themselves train."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from torch.distributed.distributed_c10d import _get_default_store

from cluster.training.agreement import Agreement

T = TypeVar("T")


class StoreAgreement(Agreement):
    """As `Agreement`, for one thread of each rank beside the training: values must be plain JSON.

    Collectives belong to the thread that trains. This one meets, and hands values on, in the process group's store alone.
    """

    def from_rank_zero(self, action: Callable[[], T]) -> T:
        if self.world == 1:
            return action()
        key = f"{self._prefix}/values/{next(self._values)}"

        def told() -> T | None:
            if self.rank:
                return None
            result = action()
            _get_default_store().set(key, json.dumps(result))
            return result

        self._run(told, names_ranks=False)
        result: T = self._read(key)
        return result

    def gather(self, value: T) -> list[T]:
        if self.world == 1:
            return [value]
        key = f"{self._prefix}/values/{next(self._values)}"
        self.on_every_rank(lambda: _get_default_store().set(f"{key}/{self.rank}", json.dumps(value)))
        return [self._read(f"{key}/{rank}") for rank in range(self.world)]

    def _read(self, key: str) -> Any:
        """What lies there by now: a key that is not there would be waited for with the whole store locked."""
        return json.loads(_get_default_store().get(key))
