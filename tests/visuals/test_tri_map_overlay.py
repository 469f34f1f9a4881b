"""Test the regions of the tri-map over a frame: which are tinted, how strongly, and how large they are."""

import numpy as np
import pytest

from avlearn.commands import report
from avlearn.visuals import tri_map_overlay
from configs import avolnet, lvs

THRESHOLDS = tri_map_overlay.Thresholds(positive=0.65, negative=0.4, tau=0.03)


def log_odds(cosine) -> np.ndarray:
    """Return the heat map of LVS: log-odds of the positive mask."""
    return ((np.array(cosine) - 0.65) / 0.03).astype(np.float32)


def test_cosines_are_recovered():
    np.testing.assert_allclose(tri_map_overlay.cosines(log_odds([0.1, 0.65, 0.9]), THRESHOLDS), [0.1, 0.65, 0.9], 1e-6)


def test_shares_count_cells():
    cells = log_odds([[0.9, 0.7, 0.64, 0.5], [0.41, 0.39, 0.2, 0.1]])
    assert tri_map_overlay.shares(cells, THRESHOLDS) == tri_map_overlay.Shares(0.25, 0.375, 0.375)


@pytest.mark.parametrize(
    ("cosine", "positive", "negative"),
    [
        (0.9, 1, 0),
        (0.65, 0.5, 0),
        (0.5, 0, 0),
        (0.4, 0, 0.5),
        (0.37, 0, 1 / (1 + np.exp(-1))),
        (0.0, 0, 1),
    ],
)
def test_tint_is_the_soft_mask(cosine, positive, negative):
    frame = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    tint = positive * tri_map_overlay.POSITIVE + negative * tri_map_overlay.NEGATIVE
    expected = tri_map_overlay.OPACITY * tint + (1 - tri_map_overlay.OPACITY * (positive + negative)) * grey
    image = tri_map_overlay.overlay(frame, log_odds(np.full((2, 2), cosine)), THRESHOLDS)
    np.testing.assert_allclose(image[4, 4], expected, atol=1.5)


def test_cells_keep_their_positions():
    image = tri_map_overlay.overlay(np.zeros((40, 40, 3), np.uint8), log_odds([[0.5, 0.95], [0.1, 0.5]]), THRESHOLDS)
    opaque = (tri_map_overlay.OPACITY * np.stack([tri_map_overlay.POSITIVE, tri_map_overlay.NEGATIVE])).round()
    np.testing.assert_array_equal(image[[2, 37], [37, 2]], opaque)
    assert (image[[2, 37], [2, 37]] < 6).all()  # cosine 0.5 is ignored, apart from the soft thresholds


@pytest.mark.parametrize(("regions", "background"), [("tri_map", 0.4), ("complement", 0.65), ("positives_only", None)])
def test_thresholds_come_from_the_loss_of_the_run(regions, background):
    config = lvs.get_config().unlock()
    config.loss.regions = regions
    expected = None if background is None else tri_map_overlay.Thresholds(0.65, background, 0.03)
    assert report.thresholds(config.to_dict()) == expected
    assert report.thresholds(avolnet.get_config().to_dict()) is None
