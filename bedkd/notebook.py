"""What chapters call: their setup, and the check that their sentences are true."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from importlib.metadata import version

import datasets
import huggingface_hub
import transformers

from bedkd import plotting
from bedkd.errors import InputError
from bedkd.training.runtime import device as accelerator_device

PROFILES = ("quick", "full")
# Read once, so that a choice made in the setup cell can be changed by running the cell again.
_FROM_ENVIRONMENT = os.environ.get("BEDKD_PROFILE")


def setup(profile: str = "quick", *, minutes_quick: float, minutes_full: float | None) -> str:
    """Prepare a notebook session and print its versions, device, profile and expected time.

    Progress bars and warnings of the Hugging Face libraries are turned off and figures get the
    book's style. ``BEDKD_PROFILE``, where it was set before the session began, decides over
    ``profile``; the result is left in it for whatever the session starts.

    Args:
        profile: "quick" (CPU, minutes) or "full" (GPU, paper-sized).
        minutes_quick: measured minutes of the chapter in the quick profile, on two CPU cores.
        minutes_full: measured minutes of the chapter in the full profile, on one T4 GPU; None
            if nobody has timed it.

    Returns:
        The profile that holds.

    Raises:
        InputError: the profile is neither "quick" nor "full".
    """
    chosen = _FROM_ENVIRONMENT or profile
    if chosen not in PROFILES:
        raise InputError(f"profile {chosen!r}: use one of {', '.join(PROFILES)} (BEDKD_PROFILE)")
    os.environ["BEDKD_PROFILE"] = chosen
    quieten()
    plotting.use_style()

    device = accelerator_device().type
    libraries = ", ".join(f"{name} {version(name)}" for name in ("bedkd", "torch", "transformers"))
    minutes, where = {
        "quick": (minutes_quick, "two CPU cores"),
        "full": (minutes_full, "a T4 GPU"),
    }[chosen]
    print(f"Python {platform.python_version()}, {libraries}")
    unit = "minute" if minutes == 1 else "minutes"
    expected = f"about {minutes:g} {unit}" if minutes is not None else "not timed yet"
    print(f"{chosen} profile on {device}: {expected} on {where}")
    if chosen == "full" and device == "cpu":
        print(
            "No GPU found: the full profile is meant for one (in Colab: Runtime, Change runtime)."
        )
    return chosen


def check(statement: str, holds: bool) -> None:
    """Say so where this run does not show what a chapter's text, caption or alternative text says.

    The book is written beside the outputs of one machine, and a model that is trained on another
    one, or with other versions, differs a little. So a reader is told which sentence does not
    describe the run at hand, and goes on. Where the project runs its own chapters
    (``BEDKD_CHECKS=raise``) such a sentence is an error in the quick profile.

    Args:
        statement: what the text says, as a clause.
        holds: whether the run shows it.

    Raises:
        AssertionError: it does not hold, where ``BEDKD_CHECKS`` is ``raise``.

    Example:
        >>> check("the loss fell", 0.2 < 0.9)
    """
    if bool(holds):
        return
    message = f"The text says that {statement}. This run shows otherwise."
    if os.environ.get("BEDKD_CHECKS") == "raise" and os.environ.get("BEDKD_PROFILE") != "full":
        raise AssertionError(message)
    print(
        f"{message} It describes the stored run, and models differ from machine to machine. Go on."
    )


def quieten() -> None:
    """Turn off progress bars and warnings of the Hugging Face libraries."""
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("datasets").setLevel(logging.ERROR)
    for module in ("torch", "transformers", "datasets", "accelerate", "huggingface_hub"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
