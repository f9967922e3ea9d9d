"""Training on a lab of hosts that are disturbed every few seconds must end as if nothing had happened. As root.

    python -m tests.chaos.hosts --faults 50 --seed 1 --minutes 60
    python -m tests.chaos.hosts --sweep --seed 1

Runs of two workers follow one another on a head (GCS on RocksDB) and three hosts of one CPU. When one has come further than it
was before the last fault, the next is done. Printed are the faults by kind, what each cost, and how the runs ended. The exit
code is 1 where one did not recover, ended in other bits, or something is left.
"""

import argparse
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.driver import Driver
from tests.chaos.host_faults import HostFaults
from tests.chaos.host_sweep import disturb_sweep
from tests.hosts.lab import Lab
from tests.hosts.lab_run import lab_recipe, run_on_one_host, weights_of, write_inputs
from tests.hosts.network import command
from tests.hosts.ray_cluster import RayCluster
from tests.integration.commands import result

# Further than before by then, or it hangs; a lease of a host that died is waited for a minute.
BOUND_S = 240.0
_PAUSE_S = (3.0, 8.0)


@dataclass
class Told:
    """What was done and what it cost."""

    kinds: list[str] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    runs: list[bool] = field(default_factory=list)
    trained: int = 0
    speed: float = 0.0

    def table(self, wall_s: float) -> str:
        """Faults by kind, then all of them."""
        lines = [f"{'fault':28}{'times':>6}{'survived':>9}{'steps lost':>16}{'seconds to recover':>24}"]
        for kind in [*sorted(set(self.kinds)), "all"] if self.kinds else []:
            mine = [index for index, own in enumerate(self.kinds) if kind in (own, "all")]
            seconds = [value for index in mine if (value := self.seconds[index]) is not None]
            steps = [self.steps[index] for index in mine]
            cost = f"{statistics.median(steps):.0f}, worst {max(steps)}"
            time_ = f"{statistics.median(seconds):.1f}, worst {max(seconds):.1f}" if seconds else "-"
            lines.append(f"{kind:28}{len(mine):6}{len(seconds):9}{cost:>16}{time_:>24}")
        goodput = self.trained / self.speed / wall_s if self.speed else 0.0
        lines.append(f"{len(self.runs)} runs to the end, {sum(self.runs)} of them with the undisturbed bits")
        lines.append(f"goodput {goodput:.0%} of the undisturbed {self.speed:.1f} steps/s, over {wall_s:.0f} s")
        return "\n".join(lines)


class Chaos:
    """Runs on one cluster, disturbed until there were enough faults or the time is over."""

    def __init__(self, cluster: RayCluster, seed: int, faults: int, ends: float, kinds: list[str]) -> None:
        self._cluster, self._faults, self._ends, self._only = cluster, faults, ends, kinds
        self._generator = random.Random(seed)
        self.told = Told()
        self._due: list[str] = []

    def run(self) -> None:
        """All of it."""
        lab = self._cluster.lab
        wanted = run_on_one_host(_recipe(lab, "whole"), lab.shared / "runs/whole")
        number = 0
        while len(self.told.kinds) < self._faults and time.monotonic() < self._ends:
            number += 1
            folder = lab.shared / "runs" / f"run{number}"
            self._disturb(Driver(self._cluster, "train", _recipe(lab, folder.name), "--json"), folder)
            self.told.runs.append(weights_of(folder) == wanted and result(folder)["status"] == "finished")
            print(f"{folder.name} ended, same bits: {self.told.runs[-1]}", flush=True)

    def _disturb(self, driver: Driver, folder: Path) -> None:
        """One run to its end."""
        driver.start()
        self._wait(driver, 20)
        self._measure(driver)
        faults = HostFaults(self._cluster, driver, folder, self._generator)
        while driver.keep_up():
            if len(self.told.kinds) >= self._faults or time.monotonic() > self._ends:
                time.sleep(0.2)
                continue
            time.sleep(self._generator.uniform(*_PAUSE_S))
            if driver.keep_up():
                self._do(faults, driver)
        self.told.trained += driver.step

    def _do(self, faults: HostFaults, driver: Driver) -> None:
        kinds = {kind: act for kind, act in faults.kinds().items() if not self._only or kind in self._only}
        if not self._due:
            self._due = sorted(kinds)
            self._generator.shuffle(self._due)
        kind, step, starts, begun = self._due.pop(), driver.step, len(driver.starts), time.monotonic()
        kinds[kind]()
        recovered = self._wait(driver, step)
        lost = max(0, step - driver.starts[-1][1]) if len(driver.starts) > starts else 0
        self.told.kinds.append(kind)
        self.told.seconds.append(time.monotonic() - begun if recovered else None)
        self.told.steps.append(lost)
        print(f"{kind}: at step {step}, {lost} steps lost, {time.monotonic() - begun:.1f} s", flush=True)
        if not recovered:
            print("".join(driver.last_lines), flush=True)
            raise SystemExit(f"{kind}: not further after {BOUND_S:g} s")

    def _wait(self, driver: Driver, step: int) -> bool:
        """Until the run is beyond `step`, or through."""
        ends = time.monotonic() + BOUND_S
        while time.monotonic() < ends:
            if not driver.keep_up() or driver.is_beyond(step):
                return True
            time.sleep(0.1)
        return False

    def _measure(self, driver: Driver) -> None:
        """Steps a second while nothing happens, evaluations and checkpoints included."""
        if self.told.speed == 0:
            step, begun = driver.step, time.monotonic()
            time.sleep(12)
            self.told.speed = (driver.step - step) / (time.monotonic() - begun)


def _recipe(lab: Lab, name: str) -> str:
    training = {"save_every": 25, "evaluate_every": 250, "log_every": 5}
    return lab_recipe(lab, name, epochs=60, training=training, collective_timeout=40, max_failures=1000)


def main() -> None:
    """Run it, and print what it came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kinds", nargs="*", default=[], help="only these; all if not given")
    parser.add_argument(
        "--sweep", action="store_true", help="a sweep of 8 trials instead, two hosts killed and one joined"
    )
    given = parser.parse_args()
    begun = time.monotonic()
    with Lab(hosts=4, shared_size="300m") as lab:
        cluster = RayCluster(lab, rocksdb=True)
        write_inputs(lab)
        if given.sweep:
            good = disturb_sweep(cluster, given.seed)
        else:
            cluster.start()
            chaos = Chaos(cluster, given.seed, given.faults, begun + 60 * given.minutes, given.kinds)
            started = time.monotonic()
            try:
                chaos.run()
            finally:
                print(chaos.told.table(time.monotonic() - started), flush=True)
            good = all(chaos.told.runs)
        pids, name = list(lab.processes()), lab.name
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    spaces = [line for line in command("ip", "netns", "list").splitlines() if name in line]
    print(f"left: {len(left)} processes, {len(spaces)} namespaces, folder {lab.folder.exists()}")
    sys.exit(0 if good and not left and not spaces and not lab.folder.exists() else 1)


if __name__ == "__main__":
    main()
