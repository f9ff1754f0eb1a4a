"""Repairs: take a backdoor out of a copy of the model."""

from bedkd.repairs.base import Repair, Repaired
from bedkd.repairs.distillation import AdversarialDistillation
from bedkd.repairs.fine_tuning import FineTuning

# Names for the command line. A new repair is one file and one line here.
REPAIRS = {
    "bedkd": AdversarialDistillation,
    "finetune": FineTuning,
}

__all__ = ["REPAIRS", "AdversarialDistillation", "FineTuning", "Repair", "Repaired"]
