"""Memory of reading very many rows: preparing them, then two processes that take batches of them, at one and ten times the rows.

    python -m tests.benchmarks.many_rows --rows 100000 1000000

Each phase is a process of its own; MiB of its own (anonymous) memory at the end, and at the highest of all its resident memory, in which pages of the
mapped table are the kernel's to drop. What does not grow with the rows is flat.
"""

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from multitask.config import RunConfig, parse_config
from tests.builders import FILLER, TOPIC, build_tiny_bert, tiny_config

BATCHES = 300


def write_rows(path: Path, rows: int) -> None:
    """Sentences of 3 to 20 words and a label of five classes."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("id\ttext\tlabel\n")
        for number in range(rows):
            words = generator.choices(FILLER + TOPIC, k=generator.randint(3, 20))
            file.write(f"r{number}\t{' '.join(words)}\t{number % 5}\n")


def recipe(folder: Path, rows: int) -> RunConfig:
    """One task over `rows-<rows>.tsv`."""
    task = {
        "kind": {"name": "classification", "classes": 5},
        "columns": {"id": "id", "text": "text", "label": "label"},
        "files": {"train": [f"rows-{rows}.tsv"], "dev": [f"rows-{rows}.tsv"]},
    }
    tree = tiny_config(folder, combination={"name": "sum"})
    return parse_config(tree | {"tasks": {"many": task}}, "many_rows")


def prepare(tree: dict[str, Any], told: Any) -> None:
    """Read, check and tokenise."""
    from multitask.data import prepare_tables

    start = time.perf_counter()
    prepare_tables(parse_config(tree, "many_rows"))
    told.send(_memory() | {"seconds": round(time.perf_counter() - start, 1)})


def take(tree: dict[str, Any], rank: int, told: Any) -> None:
    """Batches from all over a pass, as rank `rank` of two."""
    from multitask.data import prepare_tables
    from multitask.sampling import Schedule
    from multitask.work import WorkSource

    config = parse_config(tree, "many_rows")
    tables = prepare_tables(config)
    source = WorkSource(config, tables.train, tables.pad_id, rank, 2, all_tasks=False)
    schedule = Schedule(config, source.sizes())
    start = time.perf_counter()
    for number in range(BATCHES):
        source.share(schedule.round(number * schedule.steps // BATCHES))
    told.send(_memory() | {"ms a batch": round((time.perf_counter() - start) / BATCHES * 1e3, 2)})


def _memory() -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"own MiB": int(status["RssAnon"].split()[0]) // 1024, "peak MiB": peak}


def in_processes(calls: list[tuple[Any, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    """What each of these calls tells, all at once in processes of their own."""
    fresh, running = multiprocessing.get_context("spawn"), []
    for target, arguments in calls:
        here, there = fresh.Pipe()
        process = fresh.Process(target=target, args=(*arguments, there))
        process.start()
        running.append((process, here))
    told = [here.recv() for _, here in running]
    for process, _ in running:
        process.join()
    return told


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_tiny_bert(folder / "encoder")
        for rows in parser.parse_args().rows:
            write_rows(folder / f"rows-{rows}.tsv", rows)
            tree = recipe(folder, rows).to_dict()
            [prepared] = in_processes([(prepare, (tree,))])
            taken = in_processes([(take, (tree, rank)) for rank in (0, 1)])
            figures[f"{rows:,} rows"] = {"prepare": prepared, "rank 0": taken[0], "rank 1": taken[1]}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
