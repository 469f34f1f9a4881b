"""A run that is killed at any moment and started again with the same command ends with the same bits and results."""

import signal

import pytest

from tests.helpers.killed_run import (
    EVALUATING,
    STARTING,
    assert_same,
    checkpoints_of,
    left,
    logged,
    said,
    send_when,
    start,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tiny_world, tmp_path_factory):
    """Return an uninterrupted run, one that is killed, preempted and finally finishes, and its exit codes."""
    directory = tmp_path_factory.mktemp("runs")
    alone, killed = directory / "alone", directory / "killed"
    uninterrupted = start(tiny_world, alone)
    codes = []

    def interrupted(condition, number=signal.SIGKILL):
        process = start(tiny_world, killed)
        assert send_when(process, condition, number), said(killed)
        codes.append(process.returncode)

    interrupted(lambda: STARTING in said(killed))  # while the dataset is opened and the network is built
    assert uninterrupted.wait(timeout=300) == 0, said(alone)
    interrupted(lambda: "4" in checkpoints_of(killed))  # while a checkpoint is written, or just after
    interrupted(lambda: logged(killed, 7), signal.SIGTERM)
    interrupted(lambda: EVALUATING in said(killed))
    last = start(tiny_world, killed)
    codes.append(last.wait(timeout=300))
    return alone, killed, codes


def test_exit_codes_are_those_of_the_signals(runs):
    _, killed, codes = runs
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 75, -signal.SIGKILL, 0], said(killed)


def test_preempted_it_says_where_it_saved(runs):
    _, killed, _ = runs
    assert "Stopping: preempted (SIGTERM): step " in said(killed)
    assert "Resuming from step " in said(killed)


def test_it_ends_with_the_same_bits_and_results(runs):
    alone, killed, _ = runs
    assert_same(left(killed), left(alone))
