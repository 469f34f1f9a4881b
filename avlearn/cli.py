"""The `avlearn` command: `avlearn report`, `import`, `export`, `contents`, `costs`.

Training and evaluation are `python -m avlearn.main --config=...`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from avlearn.devices import environment

# Name of the command to its module in avlearn/commands and its line in the help.
COMMANDS = {
    "report": ("report", "write one page about several runs: scores, curves, retrieval, localization"),
    "import": ("import_weights", "make a run from published weights (PyTorch, Keras, safetensors)"),
    "export": ("export_weights", "write the weights of a run as safetensors"),
    "contents": ("write_contents", "write the tables of contents of a built dataset"),
    "costs": ("costs", "write the table of parameters, operations and memory of every config"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the command line names; end with one message if the user's input is wrong."""
    environment.set_variables()
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="avlearn", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, line) in COMMANDS.items():
        commands.add_parser(name, help=line, add_help=False)
    named = parser.parse_args(arguments[:1]).command
    # Only the module of the named command is imported, so that each starts in seconds.
    module = importlib.import_module(f"avlearn.commands.{COMMANDS[named][0]}")
    command = argparse.ArgumentParser(
        prog=f"avlearn {named}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(command)
    try:
        print(module.run(command.parse_args(arguments[1:])))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
