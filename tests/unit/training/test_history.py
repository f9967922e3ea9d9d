"""What is kept of a run's reports, and what comes back where the file is lost."""

from pathlib import Path

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training.history import History
from multitask.trainer.progress import Progress

SCORES = {"dev/sst/accuracy": 0.4, "train/sst/accuracy": 0.9, "dev/mean": 0.4}


def test_scores_of_training_rows_are_kept_with_those_of_dev_rows() -> None:
    history = History()
    position = {"step": 3, "epoch": 1.0, "phase": 0}
    history.add(position | SCORES | {"train/loss/sst": 1.0, "train/rows": 24, "throughput/padding": 0.1})
    assert history.dev == [position | SCORES]
    assert history.train == [position | {"train/loss/sst": 1.0, "train/rows": 24, "throughput/padding": 0.1}]


def test_of_layers_a_hundred_looks_are_kept_at_most() -> None:
    history = History()
    for step in range(1000):
        looked = {"combination/layer_cosine/a-b/layer_01": float(step)} if step % 2 else {}
        history.add({"step": step, "epoch": 0.0, "phase": 0, "train/loss/a": 1.0} | looked)
    kept = [point["step"] for point in history.train if "combination/layer_cosine/a-b/layer_01" in point]
    assert len(history.train) == 1000
    assert 50 <= len(kept) <= 100
    assert kept[0] < 100
    assert kept[-1] == 999


def test_scores_come_back_from_the_checkpoint_where_the_file_is_lost(tmp_path: Path) -> None:
    progress = Progress(step=3)
    progress.evaluated(1.0, SCORES, "dev/mean")
    assert progress.best_scores() == {"dev/sst/accuracy": 0.4, "dev/mean": 0.4}
    history = History.restore(RunFolder(Storage(str(tmp_path))), progress, lambda step: 7)
    assert history.dev == [{"step": 3, "epoch": 1.0, "phase": 7, **SCORES}]
