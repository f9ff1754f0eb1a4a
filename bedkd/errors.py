"""The one exception that means: the input is wrong, and here is what to do."""


class InputError(ValueError):
    """Bad input from the caller: a file, a row or an argument.

    The message names the file, row or argument and says what to do. The command line prints it
    and exits with status 2; nothing has been written when it is raised.
    """
