"""Repairs: take a backdoor out of a copy of the model."""

from bedkd.repairs.attention_distillation import AttentionDistillation
from bedkd.repairs.base import Repair, Repaired
from bedkd.repairs.continuing import DropAndContinue
from bedkd.repairs.distillation import AdversarialDistillation
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.repairs.gradient_ascent import RobustGradientAscent
from bedkd.repairs.head_pruning import HeadPruning
from bedkd.repairs.max_entropy import MaximumEntropy
from bedkd.repairs.mixing import Interpolation
from bedkd.repairs.retraining import DropAndRetrain
from bedkd.repairs.unit_pruning import FinePruning

# Names for the command line. A new repair is one file and one line here.
REPAIRS = {
    "bedkd": AdversarialDistillation,
    "finetune": FineTuning,
    "retrain": DropAndRetrain,
    "continue": DropAndContinue,
    "rga": RobustGradientAscent,
    "interpolate": Interpolation,
    "fineprune": FinePruning,
    "nad": AttentionDistillation,
    "headprune": HeadPruning,
    "meft": MaximumEntropy,
}

__all__ = [
    "REPAIRS",
    "AdversarialDistillation",
    "AttentionDistillation",
    "DropAndContinue",
    "DropAndRetrain",
    "FinePruning",
    "FineTuning",
    "HeadPruning",
    "Interpolation",
    "MaximumEntropy",
    "Repair",
    "Repaired",
    "RobustGradientAscent",
]
