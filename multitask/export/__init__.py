"""An exported model: a folder that plain `transformers` users can load, and that predicts for every task."""

from multitask.export.checking import check_export
from multitask.export.predictor import Predictor, Text, load_export
from multitask.export.writer import DESCRIPTION, write_export

__all__ = ["DESCRIPTION", "Predictor", "Text", "check_export", "load_export", "write_export"]
