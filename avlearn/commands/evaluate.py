"""Evaluates a checkpoint, or arrays that an evaluation saved, and writes the results into the workdir."""

import pathlib

import jax
from ml_collections import ConfigDict

from avlearn.commands import report
from avlearn.evaluation import array_files, assembly, registry, scoring
from avlearn.evaluation.assembly import Evaluation
from avlearn.logs import terminal
from avlearn.runs import workdir as workdirs
from avlearn.runs.checkpoint import Checkpoints
from avlearn.visuals import score_table


def evaluate(built: Evaluation, checkpoints: Checkpoints, workdir: pathlib.Path) -> None:
    """Evaluate a checkpoint; write its metrics, their arrays and the report; print the table of scores.

    Raises:
      ValueError: no checkpoint can be used, or an evaluator refuses its arrays.
    """
    found = built.run(checkpoints, built.config.evaluation.checkpoint, workdir)
    array_files.save(workdir, found.results, found.arrays, found.further_arrays, _config_text(workdir, built.config))
    terminal.print_once(_table(workdir, found.results))
    if built.report_arrays is not None:
        shown = built.report_arrays.collect(found.state, found.arrays)
        array_files.save_arrays(workdir / array_files.FOR_REPORT, shown)
        if jax.process_index() == 0:
            print(f"\n{report.write([report.load(workdir)], workdir / 'report')}")
    found.unfinished.remove()
    _check_refused(found.results)


def score(config: ConfigDict, workdir: pathlib.Path, arrays: pathlib.Path) -> None:
    """Compute the metrics of saved arrays without a network, write them into the workdir and print them.

    Raises:
      ValueError: the file does not hold such arrays, or an evaluator refuses them.
    """
    results, _ = assembly.score_arrays(config, arrays)
    with workdirs.taken(workdir):
        array_files.save(workdir, results, config=_config_text(workdir, config))
    terminal.print_once(f"{_table(workdir, results)}\n\nResults: {workdir / 'results.json'}")
    _check_refused(results)


def _table(workdir: pathlib.Path, results: dict) -> str:
    """Format the table of a run's scores, each with its baseline."""
    by_run = {workdir.absolute().name: results}
    return score_table.table(by_run, registry.table_rows(by_run))


def _config_text(workdir: pathlib.Path, config: ConfigDict) -> str | None:
    """Return the text of the config, unless the directory already has the config of a training run."""
    return None if workdirs.holds_training(workdir) else workdirs.text_of(config)


def _check_refused(results: dict) -> None:
    if jax.process_index() == 0:
        scoring.check_refused(results)
