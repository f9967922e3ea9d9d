"""When the host looks at what steps did (`training.check_every`): looking, it waits for the device."""

from cluster.step.passed import UnseenStep
from cluster.step.step import MultitaskStep
from multitask.config.training import TrainingConfig
from multitask.sampling import Schedule
from multitask.trainer.progress import Progress
from multitask.trainer.record import TrainRecord
from multitask.work import RoundWork


class Looks:
    """Runs steps, and looks at each, or at several at once.

    Seen at once, a step that is not finite is left out. Seen later it has been applied, and what was trained since is worthless: the run must
    end before anything of it is saved, so that a look comes before every save, evaluation and record.
    """

    def __init__(self, step: MultitaskStep, training: TrainingConfig, schedule: Schedule) -> None:
        self._step, self._training, self._schedule = step, training, schedule
        self._unseen: list[tuple[UnseenStep, float]] = []

    def run(self, work: RoundWork, lr: float, lowest_layer: int, progress: Progress, record: TrainRecord) -> bool:
        """One step; False where it was left out."""
        if self._training.check_every > 1:
            self._unseen.append((self._step.run_ahead(work, lr, lowest_layer), lr))
            progress.began(work.round.tasks, work.rows)
            return True
        result = self._step.run(work, lr, lowest_layer)
        progress.trained(result, work.rows)
        record.add(result, lr)
        return result.applied

    def problem(self, progress: Progress, record: TrainRecord, *, saves: bool) -> str | None:
        """Why the run must end after this step, as far as it is time to look; `saves`: it is saved now, whatever its number."""
        step, training = progress.step, self._training
        told = step % training.log_every == 0 or self._schedule.evaluates_after(step)
        found = None
        if told or saves or training.saves_after(step) or step % training.check_every == 0:
            found = self.look(progress, record)
        return found or progress.non_finite_problem(training.non_finite_limit)

    def look(self, progress: Progress, record: TrainRecord) -> str | None:
        """Take in what the steps since the last look did, up to the first that was not finite; then why the run must end."""
        steps, self._unseen = self._unseen, []
        found = self._step.see([step for step, _ in steps]) if steps else []
        for number, (result, (_, lr)) in enumerate(zip(found, steps, strict=True), progress.step - len(steps) + 1):
            if not result.applied:
                return _spoiled(number, progress.step, result.culprits)
            progress.saw(result)
            record.add(result, lr)
        return None


def _spoiled(number: int, seen: int, tasks: tuple[str, ...]) -> str:
    return (
        f"step {number} had a loss or gradient that is not finite ({', '.join(tasks)}), which was seen after step {seen}: what was trained since is "
        "not saved; set training.check_every=1, which leaves such steps out, and the run goes on from its last save"
    )
