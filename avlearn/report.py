"""The report page of one run or of several: `python -m avlearn.report --output=D RUN [RUN ...]`.

Prints the table of scores, each beside its baseline, and the path of the page.
"""

import argparse
import functools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from avlearn import evaluate, metrics_log
from avlearn.data import evaluation_pairs, moments, read
from avlearn.losses import tri_map
from avlearn.types import InputSpec
from avlearn.visuals import report, score_table
from avlearn.visuals.tri_map_overlay import Thresholds


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
    arrays = evaluate.load_arrays(workdir / evaluate.ARRAYS, only=(*report.SHOWN, evaluate.ABOUT))
    _, about = evaluate.read_about(arrays)
    shown = {name: arrays[name] for name in report.SHOWN if name in arrays}
    if (workdir / evaluate.FOR_REPORT).exists():
        shown |= evaluate.load_arrays(workdir / evaluate.FOR_REPORT)
    # The run's config may name other clips than were evaluated last.
    for pairing in about["sources"].keys() & shown:
        config["evaluation"] |= {name: about["sources"][pairing][name] for name in ("dataset", "split")}
    evaluated = config["evaluation"].get("dataset") or config["data"]["dataset"]
    split = read.open_split(evaluated, config["data"]["data_dir"], config["evaluation"]["split"])
    return report.Run(
        name=workdir.name,
        config=config,
        results=json.loads((workdir / "results.json").read_text()),
        metrics=metrics_log.read_rows(workdir / "metrics.jsonl"),
        arrays=shown,
        class_names=list(split.class_names),
        examples=functools.partial(evaluation_pairs.examples, split, InputSpec(**config["inputs"])),
        film=functools.partial(moments.film, split, InputSpec(**config["inputs"])),
        thresholds=thresholds(config),
    )


def thresholds(config: Mapping) -> Thresholds | None:
    """Of the regions that the run's loss tells apart; None of a loss that does not."""
    if config["model"]["name"] != "lvs" or config["loss"]["regions"] == "positives_only":
        return None
    background = {"tri_map": tri_map.NEGATIVE_THRESHOLD, "complement": tri_map.POSITIVE_THRESHOLD}
    return Thresholds(tri_map.POSITIVE_THRESHOLD, background[config["loss"]["regions"]], tri_map.TAU)


def write(runs: Sequence[report.Run], output: pathlib.Path) -> str:
    """Writes the page of these runs; returns where it is, for the terminal."""
    page = report.write(output, runs, title=", ".join(run.name for run in runs))
    return f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)"


def main() -> None:
    """One page for the runs named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("runs/report"), help="directory of the page"
    )
    parser.add_argument("runs", type=pathlib.Path, nargs="+", metavar="RUN", help="directory of an evaluated run")
    arguments = parser.parse_args()
    try:
        runs = [load(workdir) for workdir in arguments.runs]
        print(score_table.table({run.name: run.results for run in runs}))
        print(f"\n{write(runs, arguments.output)}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
