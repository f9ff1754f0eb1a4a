"""Repairs: take a backdoor out of a copy of the model."""

from bedkd.repairs.base import Repair, Repaired
from bedkd.repairs.continuing import DropAndContinue
from bedkd.repairs.distillation import AdversarialDistillation
from bedkd.repairs.fine_tuning import FineTuning
from bedkd.repairs.gradient_ascent import RobustGradientAscent
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
}

__all__ = [
    "REPAIRS",
    "AdversarialDistillation",
    "DropAndContinue",
    "DropAndRetrain",
    "FinePruning",
    "FineTuning",
    "Interpolation",
    "Repair",
    "Repaired",
    "RobustGradientAscent",
]
