import re

import numpy as np
import pytest

from avlearn.evaluators import tsne
from avlearn.visuals import point_map

SMALL = {"perplexity": 10.0, "neighbours": 5}


def world(clips=30, classes=3, gap=0.0, seed=0):
    """Return clips whose classes are clusters in both modes; audio is at the distance `gap` from images."""
    rng = np.random.default_rng(seed)
    of_clip = np.arange(clips) % classes
    image, audio = (10 * np.eye(classes, 5)[of_clip] + 0.1 * rng.normal(size=(clips, 5)) for _ in range(2))
    return {"image_embedding": image, "audio_embedding": audio + gap, "labels": np.eye(classes, dtype=bool)[of_clip]}


def test_clustered_classes_are_found():
    found = tsne.evaluate(world(), items_expected=31, **SMALL)
    assert found["class_agreement"] == 1
    assert found["class_agreement_of_embeddings"] == 1
    assert found["other_mode"] == pytest.approx(0.5, abs=0.15)
    assert found["baselines"] == {"chance": pytest.approx(9 / 29), "mixed": 0.5}
    assert (found["items"], found["items_expected"], found["perplexity"]) == (30, 31, 10.0)
    assert found["kl_divergence"] > 0


def test_separate_modes_do_not_mix():
    assert tsne.evaluate(world(gap=100.0), **SMALL)["other_mode"] == 0


def test_labels_without_meaning_are_at_chance():
    arrays = world(clips=60)
    arrays["labels"] = np.eye(3, dtype=bool)[np.random.default_rng(3).permutation(np.arange(60) % 3)]
    found = tsne.evaluate(arrays, **SMALL)
    assert found["class_agreement"] == pytest.approx(found["baselines"]["chance"], abs=0.1)


def test_the_map_is_returned_and_reproducible():
    found = tsne.evaluate(world(), **SMALL)
    positions = found.pop("arrays")
    again = tsne.evaluate(world(), **SMALL)
    for name in ("image_position", "audio_position"):
        assert positions[name].shape == (30, 2)
        np.testing.assert_array_equal(positions[name], again["arrays"][name])
    # The scores are of that map.
    points = np.concatenate([positions["image_position"], positions["audio_position"]]).astype(np.float64)
    near = brute_force(points, 5)
    of_point = np.tile(np.arange(30) % 3, 2)
    assert found["class_agreement"] == np.mean(of_point[near] == of_point[:, None])
    assert found["other_mode"] == np.mean((near >= 30) != (np.arange(60) >= 30)[:, None])


def brute_force(points, neighbours):
    clips = len(points) // 2
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    same = np.arange(2 * clips)[:, None] % clips == np.arange(2 * clips)[None] % clips
    return np.argsort(np.where(same, np.inf, distance), axis=1)[:, :neighbours]


def test_neighbours_are_of_other_clips():
    points = np.random.default_rng(0).normal(size=(24, 3))
    points[12:] = points[:12] + 1e-3  # the counterpart is always the nearest
    np.testing.assert_array_equal(tsne.nearest_of_other_clips(points, 6), brute_force(points, 6))
    np.testing.assert_array_equal(tsne.nearest_of_other_clips(points, 22), brute_force(points, 22))


def test_chance_counts_shared_classes():
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
    assert tsne.chance(labels) == pytest.approx(4 / 12)  # 0-1 and 1-2, each both ways


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"perplexity": 60.0}, "perplexity = 60.0; it must be above 0 and below the number of points, 2 x 30"),
        ({}, {"neighbours": 59}, "neighbours = 59; from 1 to 58, for 30 rows"),
        ({"audio_embedding": np.ones((30, 4))}, {}, "image_embedding has 5 dimensions and audio_embedding 4"),
        ({"labels": np.full((30, 2), 0.5)}, {}, r"labels is float64 of shape \(30, 2\); expected bool, or"),
    ],
)
def test_wrong_input_is_refused(changes, options, message):
    with pytest.raises(ValueError, match=f"^tsne: {message}"):
        tsne.evaluate(world() | changes, **{**SMALL, **options})


def drawn(clips=12, **options):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=bool)[np.arange(clips) % 3]
    labels[0] = [True, True, False]
    names = ["Violin", "Drum & bass", "Cello"]
    return point_map.draw(
        rng.normal(size=(clips, 2)), rng.normal(size=(clips, 2)), labels, names, name="map", **options
    )


def test_a_point_for_each_image_and_a_cross_for_each_sound():
    found = drawn()
    svg = found.svg
    assert svg.startswith("<svg")
    assert found.colours == {
        "Drum & bass": point_map.hue(0, 3),
        "Violin": point_map.hue(1, 3),
        "Cello": point_map.hue(2, 3),
    }
    groups = re.findall(r'<g id="map-PathCollection_\d+">(.*?)\n   </g>', svg, re.DOTALL)
    # The first clip has two classes and is drawn as the second, which is more frequent.
    assert [body.count("<use ") for body in groups] == [5, 5, 3, 3, 4, 4]


def test_rare_classes_are_grey_and_few_clips_are_drawn_of_many():
    assert drawn(max_colours=1).colours == {"Drum & bass": point_map.hue(0, 1), "other classes": point_map.OTHERS}
    assert drawn(clips=300, max_clips=10).svg.count("<use ") < 60


def test_colouring_by_hand():
    labels = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    classes, of_clip = point_map.colour_classes(labels, 2)
    assert classes == [2, 0]  # class 2 has two clips; of the others the first
    assert of_clip.tolist() == [0, 0, -1, -1]
    assert point_map.colour_classes(labels, 10)[0] == [2, 0, 1, 3]


def test_colours_differ():
    assert len({point_map.hue(number, 10) for number in range(10)}) == 10
    assert point_map.hue(0, 3) == "#b12525"


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a map of 2 clips in 3 classes with 1 class names"):
        point_map.draw(np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 3), bool), ["a"], name="map")
