"""The command line: ``bedkd poison, train, detect, purify, evaluate, reproduce, data``.

With ``--json`` one JSON object goes to standard output; messages and progress always go to
standard error. Exit status 0 means success, 2 bad input, with one message that says what to do,
130 an interruption.
"""

import typer

from bedkd.cli.attack import data_app, poison
from bedkd.cli.defend import detect, evaluate, purify, train
from bedkd.cli.reproduce import reproduce

app = typer.Typer(
    help="Find and remove backdoors in text classifiers (BeDKD).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (poison, train, detect, purify, evaluate, reproduce):
    app.command()(command)
app.add_typer(data_app, name="data", no_args_is_help=True)
