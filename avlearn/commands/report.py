"""Writes a page that compares evaluated runs: scores, training curves, retrieval, localization.

    avlearn report --output=runs/report runs/l3net runs/avenet

Prints a table of the scores, each with its baseline, and the path of the page, which is one file for any browser.
"""

import argparse
import functools
import pathlib
import shlex
from collections.abc import Mapping, Sequence

from avlearn import storage
from avlearn.data import built_dataset, evaluation_pairs, moments
from avlearn.evaluation import array_files, registry
from avlearn.logs import metrics_log
from avlearn.losses import tri_map
from avlearn.types import InputSpec
from avlearn.visuals import report_page, score_table
from avlearn.visuals.tri_map_overlay import Thresholds

AGAIN = "Evaluate the run again."


def load(workdir: pathlib.Path) -> report_page.Run:
    """Read everything that the page shows from the directory of a run.

    Raises:
      ValueError: the run has not been evaluated, or its dataset is missing.
    """
    if not (workdir / "results.json").exists():
        raise ValueError(
            f"{workdir} has no results.json. Evaluate the run first: "
            f"python -m avlearn.main --mode=evaluate --config=... --workdir={shlex.quote(str(workdir))}"
        )
    config = storage.read_json(workdir / "config.json", AGAIN)
    results = storage.read_json(workdir / "results.json", AGAIN)
    run_name = workdir.absolute().name  # `.` itself has none
    arrays = array_files.load_arrays(workdir / array_files.ARRAYS, only=(*report_page.PAIRINGS, array_files.ABOUT))
    _, about = array_files.read_about(arrays)
    page_arrays = {name: arrays[name] for name in report_page.PAIRINGS if name in arrays}
    if (workdir / array_files.FOR_REPORT).exists():
        page_arrays |= array_files.load_arrays(workdir / array_files.FOR_REPORT)
    # The last evaluation may have used other clips than those that the run's config names.
    for pairing in about["sources"].keys() & page_arrays:
        config["evaluation"] |= {name: about["sources"][pairing][name] for name in ("dataset", "split")}
    evaluated = config["evaluation"].get("dataset") or config["data"]["dataset"]
    split = built_dataset.open_split(evaluated, config["data"]["data_dir"], config["evaluation"]["split"])
    return report_page.Run(
        name=run_name,
        config=config,
        trained=about.get("trained", config),
        results=results,
        table_rows=registry.table_rows({run_name: results}),
        metrics=metrics_log.read_rows(workdir / "metrics.jsonl"),
        arrays=page_arrays,
        class_names=list(split.class_names),
        examples=functools.partial(evaluation_pairs.examples, split, InputSpec(**config["inputs"])),
        load_moments=functools.partial(moments.load_moments, split, InputSpec(**config["inputs"])),
        thresholds=thresholds(config),
    )


def thresholds(config: Mapping) -> Thresholds | None:
    """Return the thresholds that define the regions in the run's loss; None if the loss has no regions."""
    if config["model"]["name"] != "lvs" or config["loss"]["regions"] == "positives_only":
        return None
    background = {"tri_map": tri_map.NEGATIVE_THRESHOLD, "complement": tri_map.POSITIVE_THRESHOLD}
    return Thresholds(tri_map.POSITIVE_THRESHOLD, background[config["loss"]["regions"]], tri_map.TAU)


def write(runs: Sequence[report_page.Run], output: pathlib.Path) -> str:
    """Write the page of these runs; return a line for the terminal."""
    page = report_page.write(output, runs, title=", ".join(run.name for run in runs))
    return f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `avlearn report`."""
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=pathlib.Path,
        default=pathlib.Path("runs/report"),
        help="folder of the page (default: runs/report)",
    )
    parser.add_argument("runs", type=pathlib.Path, nargs="+", metavar="RUN", help="directory of an evaluated run")


def run(arguments: argparse.Namespace) -> str:
    """Write one page about the named runs; return the table of scores and the path of the page.

    Raises:
      ValueError: a run has not been evaluated, or its dataset is missing.
    """
    runs = [load(workdir) for workdir in arguments.runs]
    results = {each.name: each.results for each in runs}
    table = score_table.table(results, registry.table_rows(results))
    return f"{table}\n\n{write(runs, arguments.output)}"
