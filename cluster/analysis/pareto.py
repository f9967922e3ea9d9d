"""Points that no other one surpasses, and the one among them that gives up least."""

import math
from collections.abc import Sequence

Point = Sequence[float]


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the points (N, T) that no other one dominates, in their order; higher is better.

    A point dominates another if it is nowhere lower and somewhere higher: equal points do not, all of them are kept. Points
    with a value that is not finite are not on the front and dominate nothing.
    """
    known = [place for place, point in enumerate(points) if all(map(math.isfinite, point))]
    return [place for place in known if not any(_dominates(points[other], points[place]) for other in known)]


def _dominates(one: Point, other: Point) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def knee(points: Sequence[Point]) -> int:
    """Index of the point (of N, T) whose distance to the ideal is the smallest, the first of equals; higher is better.

    Distances are those of `FrontScale`. The knee lies on the Pareto front.

    Raises:
        ValueError: no point has finite values.
    """
    front = pareto_front(points)
    if not front:
        raise ValueError("no point has finite values")
    scale = FrontScale(points)
    return min(front, key=lambda place: scale.distance(points[place]))


class FrontScale:
    """Each coordinate of points (N, T) on the scale of their front: 1 its highest value, the ideal, 0 its lowest, the nadir.

    The compromise of Zeleny (1973) with the Euclidean norm: on a front that bulges, its knee is nearest to the ideal; on one
    that does not, still a balanced point. Where the whole front is equal in a coordinate, its scale ends at the lowest of all
    points; where those are equal, too, it is left out.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        front = [points[place] for place in pareto_front(points)]
        everything = [point for point in points if all(map(math.isfinite, point))]
        self._ends = []
        for ours, all_of_them in zip(zip(*front, strict=True), zip(*everything, strict=True), strict=True):
            high = max(ours)
            self._ends.append((min(ours) if min(ours) < high else min(all_of_them), high))

    def distance(self, point: Point) -> float:
        """Euclidean distance to the ideal: 0 … √T on the front; what surpasses the ideal in a coordinate has none in it.

        Not a number where one of the point's values is not.
        """
        if not all(map(math.isfinite, point)):
            return math.nan
        ends = zip(point, self._ends, strict=True)
        return math.hypot(*(max(0.0, (high - value) / (high - low)) for value, (low, high) in ends if high > low))
