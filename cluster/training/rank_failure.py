"""What is known of a rank that failed, in words that those understand who have no torch."""


class RankError(RuntimeError):
    """What a rank met, with its number and host: one line.

    `of_cluster`: whether its disk, network or installation is to blame, and not what it was told to train. `step`, `place`: the
    step that was being trained, and where in it, if one was.
    """

    def __init__(
        self, rank: int, host: str, cause: str, of_cluster: bool = False, step: int | None = None, place: str = ""
    ) -> None:
        super().__init__(rank, host, cause, of_cluster, step, place)
        self.rank, self.host, self.cause, self.of_cluster = rank, host, cause, of_cluster
        self.step, self.place = step, place

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"rank {self.rank} on {self.host}{where}: {self.cause}"


class OtherRankError(RankError):
    """A rank goes no further since another has failed, or is gone; that one's own error comes first."""
