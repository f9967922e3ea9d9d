"""Parameters, the space that they make, and how a user names one."""

from tune_spaces.core.checking import check_space
from tune_spaces.core.loading import open_space, shipped_spaces
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import MISSING, configured, own_value
from tune_spaces.core.space import Space

__all__ = ["MISSING", "Parameter", "Space", "check_space", "configured", "open_space", "own_value", "shipped_spaces"]
