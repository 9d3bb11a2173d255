"""Names of selectors and stopping rules that are in several tables, and that figures look for."""

from workflow.lib.evidence.verdicts import MARGIN
from workflow.lib.tables.settings import ROBUSTNESS

ALL = "all"  # data sets

SCORE = ROBUSTNESS
OTHERS = "robustness (setting chosen on the other data sets)"
ANALYST = "robustness (other analyst choices)"
RANGE = "robustness (range of analyst choices)"
ORACLE, LAST, FIXED = "oracle", "last", "fixed "
LONGEST, ACCURACY, RANDOM = "longest", "imagenet_accuracy", "random"
ELSEWHERE, MEAN_RANK, RIDGE = "best on the other data sets", "mean rank (combined)", "ridge (combined)"
SHORTEST = f"shortest within {MARGIN} of the last on the other data sets"
COMBINED = [MEAN_RANK, RIDGE]
NULLS = ["parameters", "feature_dimension"]  # properties of the network, not of the checkpoint

NEVER, FRACTION, PLATEAU = "never (last checkpoint)", "fraction of the schedule", "accuracy plateau"
PATIENCE, MINIMUM = "patience", "first turn for the worse"
THRIFTY = "thrifty"  # a budget too: the whole schedule, but parameters are chosen for few epochs
