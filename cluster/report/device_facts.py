"""What a run got out of its devices, for the head of its page."""

from collections.abc import Sequence
from statistics import median

from cluster.training.history import Point


def device_facts(records: Sequence[Point]) -> dict[str, str]:
    """Label to words, as far as the records of training know it."""
    facts = {}
    if shares := [own["throughput/mfu"] for own in records if "throughput/mfu" in own]:
        facts["share of the devices' peak (MFU)"] = f"{median(shares):.1%}"
    if peaks := [own["throughput/peak_memory_gib"] for own in records if "throughput/peak_memory_gib" in own]:
        facts["peak memory of a worker"] = f"{max(peaks):.1f} GiB"
    if slow := [own for own in records if "throughput/slowest_rank" in own]:
        over = median(own["throughput/slowest_over_mean"] for own in slow)
        ranks = [own["throughput/slowest_rank"] for own in slow]
        most = max(set(ranks), key=ranks.count)
        facts["slowest worker"] = (
            f"{over:.2f} times the mean; rank {most} in {ranks.count(most) / len(ranks):.0%} of the records"
        )
    return facts
