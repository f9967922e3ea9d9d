"""What the head of a run's page says of its devices."""

from cluster.report.device_facts import device_facts


def test_facts_are_the_middle_the_highest_and_the_most_frequent() -> None:
    records = [
        {
            "throughput/mfu": 0.1 * n,
            "throughput/peak_memory_gib": float(n),
            "throughput/slowest_rank": n % 2,
            "throughput/slowest_over_mean": 1 + n / 10,
        }
        for n in (1, 2, 3)
    ]
    assert device_facts(records) == {
        "share of the devices' peak (MFU)": "20.0%",
        "peak memory of a worker": "3.0 GiB",
        "slowest worker": "1.20 times the mean; rank 1 in 67% of the records",
    }


def test_older_runs_say_nothing() -> None:
    assert device_facts([{"step": 1, "throughput/tokens_per_s": 5.0}]) == {}
