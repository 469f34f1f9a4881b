"""The report page of one run or of several: `python -m avlearn.report --output=D RUN [RUN ...]`.

Prints the table of scores, each beside its baseline, and the path of the page.
"""

import functools
import json
import pathlib
from collections.abc import Sequence

from absl import app, flags

from avlearn import evaluate, metrics_log
from avlearn.data import pipeline, read
from avlearn.types import InputSpec
from avlearn.visuals import report, score_table

OUTPUT = flags.DEFINE_string("output", "runs/report", "Directory of the page.")


def load(workdir: pathlib.Path) -> report.Run:
    """What the page shows of a run, read from its directory.

    Raises:
      ValueError: the run has not been evaluated, or its dataset is gone.
    """
    if not (workdir / "results.json").exists():
        raise ValueError(
            f"{workdir} holds no results.json. Evaluate the run first: "
            f"python -m avlearn.main --mode=evaluate --config=... --workdir={workdir}"
        )
    config = json.loads((workdir / "config.json").read_text())
    split = read.open_split(config["data"]["dataset"], config["data"]["data_dir"], config["evaluation"]["split"])
    return report.Run(
        name=workdir.name,
        config=config,
        results=json.loads((workdir / "results.json").read_text()),
        metrics=metrics_log.read_rows(workdir / "metrics.jsonl"),
        arrays=evaluate.load_arrays(workdir / "arrays.npz"),
        class_names=list(split.class_names),
        examples=functools.partial(pipeline.examples, split, InputSpec(**config["inputs"])),
    )


def write(workdirs: Sequence[pathlib.Path], output: pathlib.Path) -> str:
    """Writes the page of these runs; returns their table of scores and the page's path, for the terminal."""
    runs = [load(workdir) for workdir in workdirs]
    page = report.write(output, runs, title=", ".join(run.name for run in runs))
    return f"{score_table.table({run.name: run.results for run in runs})}\n\nReport: {page}"


def main(arguments: Sequence[str]) -> None:
    """One page for the runs named on the command line."""
    if len(arguments) < 2:
        raise app.UsageError("name at least one run's directory: python -m avlearn.report --output=D runs/avenet")
    print(write([pathlib.Path(argument) for argument in arguments[1:]], pathlib.Path(OUTPUT.value)))


if __name__ == "__main__":
    app.run(main)
