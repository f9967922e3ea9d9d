"""What a sweep's driver exports to Prometheus: its trials by state."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import get_args

from cluster.launch.metrics import Gauges
from cluster.sweeps.records import Status, Sweep
from cluster.training.observer import one_line


class SweepMetrics:
    """Exports a sweep as it stands, and shows it to `watch`. What cannot be exported is left out, with one line on stderr."""

    def __init__(self, watch: Callable[[Sweep], None]) -> None:
        self._watch = watch
        self._gauges: Gauges | None = Gauges()

    def __call__(self, sweep: Sweep) -> None:
        if self._gauges is not None:
            try:
                self._export(sweep, self._gauges)
            except Exception as error:
                self._gauges = None
                print(f"the sweep's metrics are left out: {one_line(error)}", file=sys.stderr)
        self._watch(sweep)

    def _export(self, sweep: Sweep, gauges: Gauges) -> None:
        counts = Counter(trial.status for trial in sweep.trials)
        for state in get_args(Status):
            gauges.set("concord_sweep_trials", counts[state], sweep.name, state)
