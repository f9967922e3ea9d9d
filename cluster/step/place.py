"""Where this process is in its run, for whoever asks from outside, and for what is said of an error."""

from dataclasses import dataclass, replace


@dataclass
class Place:
    """The step that is being trained, the part of it and the task; `moves` counts every change and every sign of life."""

    step: int | None = None
    part: str = ""
    task: str = ""
    moves: int = 0

    def move(self, **changes: int | str) -> None:
        """Change some of it; without changes, a sign of life."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.moves += 1

    def __str__(self) -> str:
        step = "" if self.step is None else f"step {self.step}"
        part = f"{self.part} of {self.task}" if self.part and self.task else self.part
        return ", ".join(filter(None, (step, part)))


# One process trains one run at a time.
HERE = Place()


def whereabouts() -> Place:
    """A copy of it."""
    return replace(HERE)
