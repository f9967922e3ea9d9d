"""What watches a training run: the terminal and Weights & Biases, both fed by one stream of records."""

from cluster.observers.display import Display
from cluster.observers.observer import Observer, ObserverGroup, Outcome, RunInfo
from cluster.observers.tracking import WandbTracker

__all__ = ["Display", "Observer", "ObserverGroup", "Outcome", "RunInfo", "WandbTracker"]
