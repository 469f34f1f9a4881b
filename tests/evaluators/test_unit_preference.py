import numpy as np
import pytest
from scipy import stats

from avlearn.evaluators import unit_preference


def arrays(**changes):
    """Return ten clips, five of each class, in order, and four units with known ranks."""
    unit = np.zeros((10, 4))
    unit[[0, 1, 2, 3, 4], 0] = [5, 4, 3, 2, 1]  # five of class 0
    unit[[5, 6, 7, 8, 0], 1] = [1, 2, 3, 4, 5]  # four of class 1, and one of class 0
    unit[[0, 1, 2, 8, 9], 2] = 1  # three of class 0, two of class 1
    given = {"image_pool4": unit, "audio_pool4": unit[:, 2:], "labels": np.eye(3, dtype=bool)[np.arange(10) // 5]}
    return given | changes  # unit 3 is dead, class 2 does not occur


def test_by_hand():
    found = unit_preference.evaluate(arrays(), agree=(5, 4, 3), items_expected=12)
    assert found["image"] == {
        "5 of 5": {"units": 1, "classes": 1},
        "4 of 5": {"units": 2, "classes": 2},
        "3 of 5": {"units": 3, "classes": 2},
    }
    assert found["audio"] == {
        "5 of 5": {"units": 0, "classes": 0},
        "4 of 5": {"units": 0, "classes": 0},
        "3 of 5": {"units": 1, "classes": 1},
    }
    assert found["dead_units"] == {"image": 1, "audio": 1}
    assert found["units"] == {"image": 4, "audio": 2}
    assert found["baselines"]["untrained"] == {"image": None, "audio": None}
    assert (found["classes"], found["items"], found["items_expected"]) == (2, 10, 12)


def test_a_clip_of_two_classes_counts_for_both():
    labels = arrays()["labels"].copy()
    labels[:5, 2] = True
    found = unit_preference.evaluate(arrays(labels=labels), agree=(4,))
    assert found["image"]["4 of 5"] == {"units": 2, "classes": 3}


def test_untrained_units_give_a_baseline():
    given = arrays()
    found = unit_preference.evaluate(
        arrays(untrained_image_pool4=given["audio_pool4"], untrained_audio_pool4=given["image_pool4"])
    )
    assert found["baselines"]["untrained"] == {"image": found["audio"], "audio": found["image"]}


def test_equal_activations_rank_in_random_order():
    """For units active on one clip only, the other four clips are not neighbours in the dataset: classes mix."""
    labels = np.eye(20, dtype=bool)[np.arange(400) // 20]
    unit = np.zeros((400, 50))
    unit[np.arange(50) * 8, np.arange(50)] = 1
    found = unit_preference.evaluate({"image_pool4": unit, "labels": labels}, modalities=("image",), agree=(5,), seed=1)
    assert found["image"]["5 of 5"]["units"] == 0
    again = unit_preference.evaluate({"image_pool4": unit, "labels": labels}, modalities=("image",), agree=(5,), seed=1)
    assert again == found


@pytest.mark.parametrize("agree", [3, 4])
def test_random_ranking_follows_the_hypergeometric_distribution(agree):
    """Top 5 of 60 clips drawn without replacement; units are independent."""
    sizes = np.array([30, 20, 10])
    labels = np.eye(3, dtype=bool)[np.repeat(np.arange(3), sizes)]
    share = stats.hypergeom.sf(agree - 1, 60, sizes, 5)  # of units that prefer each class
    units, classes = unit_preference.at_random(40, labels, 5, (agree,), 2000, seed=0)[0]
    assert units == pytest.approx(40 * share.sum(), rel=0.03)
    assert classes == pytest.approx((1 - (1 - share) ** 40).sum(), rel=0.03)


def test_random_baseline_has_the_units_of_each_mode():
    found = unit_preference.evaluate(arrays(), random_draws=20)["baselines"]["random"]
    assert found["image"]["3 of 5"]["units"] == 4  # of two classes one always has three of five
    assert found["audio"]["3 of 5"]["units"] == 2
    assert 0 < found["image"]["4 of 5"]["units"] < 4


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (arrays(), {"agree": (6,)}, r"agree = \(6,\); each is from 1 to top = 5"),
        (arrays(), {"agree": ()}, r"agree = \(\)"),
        (arrays(), {"top": 11}, "10 rows in labels; the top 11"),
        (arrays(), {"random_draws": 0}, "random_draws = 0"),
        (arrays(), {"modalities": ("audio", "audio")}, "modalities = "),
        (
            arrays(labels=np.full((10, 2), 7)),
            {},
            "labels is 7 in 10 of 10 rows, first in row 0; expected true or false",
        ),
        (arrays(untrained_audio_pool4=np.ones((9, 2))), {}, "different numbers of rows: .*'untrained_audio_pool4': 9"),
    ],
)
def test_wrong_input_is_refused(given, options, message):
    with pytest.raises(ValueError, match=f"^unit_preference: .*{message}"):
        unit_preference.evaluate(given, **options)
