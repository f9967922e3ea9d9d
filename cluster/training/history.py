"""Everything that was reported of a run by step, for those who look at it afterwards."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.storage.run_folder import RunFolder
from multitask.score_names import is_score

if TYPE_CHECKING:
    from multitask.trainer.progress import Progress

FILE = "history.json"
_LIMIT = 2000
# A look at every layer holds a number for each of them and each pair of tasks.
_LAYERS, _LAYERS_LIMIT = "combination/layer_cosine/", 100
_KEPT = ("train/", "combination/", "throughput/")

Point = dict[str, Any]


class History:
    """Training records and scores of a run, each with `step`, `epoch` and `phase`.

    All scores are kept, those of training rows beside those of dev rows. Of training records every second one is dropped whenever there are more than 2,000, and of what they tell of
    layers whenever there is more than 100 times something.
    """

    def __init__(self, train: list[Point] | None = None, dev: list[Point] | None = None) -> None:
        self.train, self.dev = train or [], dev or []

    @classmethod
    def restore(cls, folder: RunFolder, progress: "Progress", phase_of: Callable[[int], int]) -> "History":
        """What `folder` holds of steps up to that of `progress`; later ones are trained again.

        Where the file is lost, dev scores come from `progress`, with the phase that `phase_of` gives for their steps, and it is
        written again; records of training are lost, too.
        """
        saved = folder.read_or_set_aside(FILE)
        if saved is None:
            found = cls(dev=[cls._point(point, phase_of(int(point["step"]))) for point in progress.history])
            found.write(folder)
            return found
        train, dev = ([p for p in saved.get(kind, []) if p["step"] <= progress.step] for kind in ("train", "dev"))
        return cls(train, dev)

    @staticmethod
    def _point(evaluation: Point, phase: int) -> Point:
        scores = {key: value for key, value in evaluation.items() if is_score(key)}
        return {"step": evaluation["step"], "epoch": evaluation["epoch"], "phase": phase, **scores}

    def add(self, metrics: Point) -> None:
        """Take in one report."""
        position = {key: metrics[key] for key in ("step", "epoch", "phase")}
        scores = {key: value for key, value in metrics.items() if is_score(key)}
        record = {key: value for key, value in metrics.items() if key.startswith(_KEPT) and key not in scores}
        if record:
            self.train.append(position | record)
        if scores:
            self.dev.append(position | scores)
        if len(self.train) > _LIMIT:
            del self.train[-2::-2]
        if any(key.startswith(_LAYERS) for key in record):
            self._thin_layers()

    def _thin_layers(self) -> None:
        looked = [place for place, point in enumerate(self.train) if any(key.startswith(_LAYERS) for key in point)]
        for place in looked[-2::-2] if len(looked) > _LAYERS_LIMIT else ():
            self.train[place] = {key: own for key, own in self.train[place].items() if not key.startswith(_LAYERS)}

    def copy(self) -> "History":
        """What has been reported by now: what is written while more is."""
        return History(list(self.train), list(self.dev))

    def write(self, folder: RunFolder) -> None:
        """Replace the file in `folder`."""
        folder.write_record(FILE, {"train": self.train, "dev": self.dev})
