"""Writes the report page of one run or of several: `avlearn report --output=D RUN [RUN ...]`.

Prints the table of scores, each beside its baseline, and the path of the page.
"""

import argparse
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence

from avlearn.data import built_dataset, evaluation_pairs, moments
from avlearn.evaluation import array_files
from avlearn.logs import metrics_log
from avlearn.losses import tri_map
from avlearn.types import InputSpec
from avlearn.visuals import report_page, score_table
from avlearn.visuals.tri_map_overlay import Thresholds


def load(workdir: pathlib.Path) -> report_page.Run:
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
    arrays = array_files.load_arrays(workdir / array_files.ARRAYS, only=(*report_page.SHOWN, array_files.ABOUT))
    _, about = array_files.read_about(arrays)
    shown = {name: arrays[name] for name in report_page.SHOWN if name in arrays}
    if (workdir / array_files.FOR_REPORT).exists():
        shown |= array_files.load_arrays(workdir / array_files.FOR_REPORT)
    # The run's config may name other clips than were evaluated last.
    for pairing in about["sources"].keys() & shown:
        config["evaluation"] |= {name: about["sources"][pairing][name] for name in ("dataset", "split")}
    evaluated = config["evaluation"].get("dataset") or config["data"]["dataset"]
    split = built_dataset.open_split(evaluated, config["data"]["data_dir"], config["evaluation"]["split"])
    return report_page.Run(
        name=workdir.name,
        config=config,
        results=json.loads((workdir / "results.json").read_text()),
        metrics=metrics_log.read_rows(workdir / "metrics.jsonl"),
        arrays=shown,
        class_names=list(split.class_names),
        examples=functools.partial(evaluation_pairs.examples, split, InputSpec(**config["inputs"])),
        film=functools.partial(moments.load_moments, split, InputSpec(**config["inputs"])),
        thresholds=thresholds(config),
    )


def thresholds(config: Mapping) -> Thresholds | None:
    """Of the regions that the run's loss tells apart; None of a loss that does not."""
    if config["model"]["name"] != "lvs" or config["loss"]["regions"] == "positives_only":
        return None
    background = {"tri_map": tri_map.NEGATIVE_THRESHOLD, "complement": tri_map.POSITIVE_THRESHOLD}
    return Thresholds(tri_map.POSITIVE_THRESHOLD, background[config["loss"]["regions"]], tri_map.TAU)


def write(runs: Sequence[report_page.Run], output: pathlib.Path) -> str:
    """Writes the page of these runs; returns where it is, for the terminal."""
    page = report_page.write(output, runs, title=", ".join(run.name for run in runs))
    return f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `avlearn report`."""
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("runs/report"), help="directory of the page"
    )
    parser.add_argument("runs", type=pathlib.Path, nargs="+", metavar="RUN", help="directory of an evaluated run")


def run(arguments: argparse.Namespace) -> str:
    """Writes one page for the named runs; returns the table of scores and the path of the page.

    Raises:
      ValueError: a run has not been evaluated, or its dataset is gone.
    """
    runs = [load(workdir) for workdir in arguments.runs]
    table = score_table.table({each.name: each.results for each in runs})
    return f"{table}\n\n{write(runs, arguments.output)}"
