"""The exercises of the chapters, one module a chapter.

The solution of an exercise is an ordinary function; the stub that learners get is made from its
signature and docstring, so that stub, solution, page and notebooks have one source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType


class Diagnosis(AssertionError):
    """What is wrong with an answer, without giving the right one away."""


def require(condition: object, message: str) -> None:
    """Raise a :class:`Diagnosis` unless the condition holds."""
    if not bool(condition):
        raise Diagnosis(message)


@dataclass(frozen=True)
class Exercise:
    """A function that the learner writes; called with an answer it says whether it is right.

    Attributes:
        solution: the function, with types and a docstring.
        verify: takes an answer, runs it on cases with a known truth and on negative controls, and
            raises :class:`Diagnosis`.
        title: heading of the exercise.
        difficulty: 1 to 5.
        importance: 1 to 5.
        minutes: an estimate of what it takes; nobody has measured it.
        task: what it is for, and numbered requirements; Markdown.
        toy: a call of the function, as Python code, whose result is printed first.
        wrong: typical wrong answers: text of the solution, what stands there instead, and a part of
            the diagnosis that this must get.

    Example:
        >>> def double(x: float) -> float:
        ...     return 2 * x
        >>> def verify(answer):
        ...     require(answer(3) == 6, "three is not doubled")
        >>> exercise = Exercise(double, verify, "Double", 1, 1, 1, "", "double(1)", ())
        >>> exercise(lambda x: x + 1)
        double(1) gives 2
        Not yet: three is not doubled
    """

    solution: Callable
    verify: Callable[[Callable], None]
    title: str
    difficulty: int
    importance: int
    minutes: int
    task: str
    toy: str
    wrong: Sequence[tuple[str, str, str]]

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.solution.__name__

    def diagnose(self, answer: Callable) -> str | None:
        """What is wrong with an answer; None if nothing is."""
        try:
            self.verify(answer)
        except NotImplementedError:
            return "it is not written yet"
        except Diagnosis as diagnosis:
            return str(diagnosis)
        except Exception as error:
            return f"it stops with {type(error).__name__}: {error}"
        return None

    def __call__(self, answer: Callable) -> None:
        """Print what the toy run gives and what is wrong, if anything."""
        try:
            names = {**self.solution.__globals__, self.name: answer}
            print(f"{self.toy} gives {eval(self.toy, names)}")
        except Exception as error:
            if not isinstance(error, NotImplementedError):
                print(f"{self.toy} stops with {type(error).__name__}: {error}")
        problem = self.diagnose(answer)
        print(
            f"{self.name}: solved" if problem is None else f"Not yet: {problem}"
        )

    def source(self) -> str:
        """The solution as it stands in its module."""
        return textwrap.dedent(inspect.getsource(self.solution)).rstrip()

    def stub(self) -> str:
        """Signature and docstring of the solution, without its body."""
        source = self.source()
        function = ast.parse(source).body[0]
        lines = source.splitlines()[: function.body[0].end_lineno]
        return "\n".join([*lines, "    raise NotImplementedError"])


def chapter(number: int) -> ModuleType:
    """The module with the exercises of a chapter.

    Raises:
        ModuleNotFoundError: the chapter has none.
    """
    return import_module(f"{__name__}.chapter{number:02}")


def of_chapter(number: int) -> list[Exercise]:
    """The exercises of a chapter, in order; none if it has no module."""
    try:
        module = chapter(number)
    except ModuleNotFoundError:
        return []
    return [
        value for value in vars(module).values() if isinstance(value, Exercise)
    ]
