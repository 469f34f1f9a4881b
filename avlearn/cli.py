"""The `avlearn` command, for everything but training: reports, weights, built datasets.

`python -m avlearn.main --config=CONFIG` trains and evaluates. `avlearn COMMAND --help` describes a command.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from avlearn.devices import environment

# Maps each command to its module in avlearn/commands and its line in the help.
COMMANDS = {
    "report": ("report", "write a page that compares runs: scores, curves, retrieval, localization"),
    "import": ("import_weights", "create a run from published weights (PyTorch, Keras, safetensors)"),
    "export": ("export_weights", "write the weights of a run to a safetensors file"),
    "contents": ("write_contents", "index a built dataset, so that clips can be read in part"),
    "costs": ("costs", "write a table of parameters, operations and memory of all configs"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's error ends with one message and exit code 1."""
    environment.set_variables()
    environment.escape_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="avlearn", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, title="commands", metavar="COMMAND")
    for name, (_, line) in COMMANDS.items():
        commands.add_parser(name, help=line, add_help=False)
    name = parser.parse_args(arguments[:1]).command
    # Import the named command only: others take seconds to load.
    module = importlib.import_module(f"avlearn.commands.{COMMANDS[name][0]}")
    command = argparse.ArgumentParser(
        prog=f"avlearn {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(command)
    try:
        print(module.run(command.parse_args(arguments[1:])))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
