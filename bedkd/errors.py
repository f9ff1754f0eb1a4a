"""The one exception that means: the input is wrong, and here is what to do."""


class InputError(ValueError):
    """Bad input from the caller: a file, a row or an argument.

    The message names the file, row or argument and says what to do. The command line prints it
    and exits with status 2; nothing has been written when it is raised.
    """


def at_least(method: object, **least: float) -> None:
    """Refuse settings of a method that are below these values.

    Raises:
        InputError: names the first such setting.
    """
    for name, low in least.items():
        if not getattr(method, name) >= low:
            raise InputError(f"{name}={getattr(method, name)}: give at least {low}")
