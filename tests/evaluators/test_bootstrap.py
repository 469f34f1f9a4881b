import numpy as np
import pytest
from scipy import stats

from avlearn.evaluators.numerics import bootstrap


def test_agrees_with_scipy_for_one_row_per_clip():
    hits = np.random.default_rng(0).random(300) < 0.7
    found = bootstrap.interval(hits, np.arange(300), resamples=4000, seed=1)
    reference = stats.bootstrap((hits,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    np.testing.assert_allclose(found, reference, atol=0.005)


def test_rows_of_one_clip_are_drawn_together():
    # Two equal rows carry the information of one: the interval equals that of the 100 clips.
    hits = np.random.default_rng(0).random(100) < 0.5
    alone = bootstrap.interval(hits, np.arange(100), resamples=500, seed=0)
    twice = bootstrap.interval(np.repeat(hits, 2), np.repeat(np.arange(100), 2), resamples=500, seed=0)
    assert twice == alone
    assert alone[1] - alone[0] == pytest.approx(2 * 1.96 * 0.05, abs=0.03)  # the normal approximation


def test_clips_count_by_their_rows_and_may_have_names():
    # Clip "a" has three hits, "b" one miss: samples give 1 (aa), 0 (bb) or 3/4 (ab), never the mean of means 1/2.
    hits, clip = np.array([True, True, True, False]), np.array(["a", "a", "a", "b"])
    assert bootstrap.interval(hits, clip, resamples=1, seed=0) in ([1.0, 1.0], [0.75, 0.75], [0.0, 0.0])
    found = {bootstrap.interval(hits, clip, resamples=1, seed=seed)[0] for seed in range(20)}
    assert found == {0.0, 0.75, 1.0}


def test_the_seed_fixes_the_interval():
    hits = np.random.default_rng(0).random(50) < 0.5
    first, again, other = (bootstrap.interval(hits, np.arange(50), resamples=50, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
