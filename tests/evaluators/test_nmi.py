import numpy as np
import pytest

from avlearn.evaluators import nmi

SMALL = {"clusters": 4, "restarts": 3}


def blobs(rows=80, classes=4, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    of_row = np.arange(rows) % classes
    centres = 5 * np.eye(classes, 6)
    arrays = {name: centres[of_row] + noise * rng.normal(size=(rows, 6)) for name in ("image_embedding",)}
    arrays["audio_embedding"] = rng.normal(size=(rows, 6))
    return arrays | {"labels": np.eye(classes, dtype=bool)[of_row]}


def by_definition(one, other, average):
    """Compute the mutual information over a mean of the entropies, cell by cell."""
    table = np.array([[np.mean((one == a) & (other == b)) for b in np.unique(other)] for a in np.unique(one)])
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    mutual = sum(p * np.log(p / (rows[i] * columns[j])) for (i, j), p in np.ndenumerate(table) if p > 0)
    entropies = [-(p * np.log(p)).sum() for p in (rows, columns)]
    means = {"arithmetic": np.mean, "geometric": lambda e: np.sqrt(np.prod(e)), "min": np.min, "max": np.max}
    return mutual / means[average](entropies)


@pytest.mark.parametrize("average", nmi.AVERAGES)
def test_agreement_by_the_definition(average):
    rng = np.random.default_rng(0)
    classes, clusters = rng.integers(3, size=50), rng.integers(6, size=50)
    expected = by_definition(classes, clusters, average)
    assert nmi.agreement(clusters, classes, average) == pytest.approx(expected)


def test_by_hand():
    """Four classes in two clusters: the information is ln 2 = one half of the classes' entropy, 2 ln 2."""
    classes, clusters = np.arange(8) % 4, np.arange(8) % 2
    assert nmi.agreement(clusters, classes, "arithmetic") == pytest.approx(2 / 3)
    assert nmi.agreement(clusters, classes, "geometric") == pytest.approx(1 / np.sqrt(2))
    assert nmi.agreement(clusters, classes, "min") == pytest.approx(1)
    assert nmi.agreement(clusters, classes, "max") == pytest.approx(1 / 2)


def test_clusters_that_are_the_classes():
    found = nmi.evaluate(blobs(), items_expected=100, **SMALL)
    assert found["image"] == pytest.approx(1)
    assert found["audio"] < 0.3
    assert found["baselines"]["random"]["image"] < 0.3
    assert found["audio"] == pytest.approx(found["baselines"]["random"]["audio"], abs=0.1)
    assert found["baselines"]["untrained"] == {"image": None, "audio": None}
    assert found["clusters_found"] == {"image": 4, "audio": 4}
    assert (found["average"], found["classes"], found["items"], found["items_expected"]) == ("arithmetic", 4, 80, 100)


def test_random_baseline_keeps_the_sizes_of_the_clusters(monkeypatch):
    """64 clusters of 1,900 clips in 34 classes: L3 reports .165; this is .164, with both usual means."""
    rng = np.random.default_rng(0)
    clusters = np.arange(1900) % 64
    monkeypatch.setattr(nmi, "cluster", lambda features, *rest: clusters)
    arrays = {"image_embedding": np.ones((1900, 2)), "labels": np.eye(34, dtype=bool)[rng.integers(34, size=1900)]}
    for average in ("arithmetic", "geometric"):
        found = nmi.evaluate(arrays, modalities=("image",), average=average)
        assert found["baselines"]["random"]["image"] == pytest.approx(0.165, abs=0.004)
    monkeypatch.setattr(nmi, "cluster", lambda features, *rest: np.zeros(1900, int))
    assert nmi.evaluate(arrays, modalities=("image",))["baselines"]["random"]["image"] == 0


def test_untrained_features_and_other_arrays():
    arrays = blobs()
    given = {"image_pool4": arrays["image_embedding"], "labels": arrays["labels"]}
    given["untrained_image_pool4"] = arrays["audio_embedding"]
    found = nmi.evaluate(given, features="pool4", modalities=("image",), **SMALL)
    expected = nmi.evaluate(arrays, **SMALL)
    assert found["image"] == expected["image"]
    assert found["baselines"]["untrained"] == {"image": expected["audio"]}
    assert "audio" not in found


def test_several_classes_count_by_the_rule(monkeypatch):
    clusters = np.array([0, 0, 1, 1])
    monkeypatch.setattr(nmi, "cluster", lambda features, *rest: clusters)
    labels = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]], bool)
    arrays = {"image_embedding": np.ones((4, 2)), "labels": labels}
    options = {"modalities": ("image",), "clusters": 2}
    assert nmi.evaluate(arrays, label_rule="first", **options)["image"] == pytest.approx(1)
    expanded = by_definition(np.array([0, 0, 2, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1]), "arithmetic")
    assert nmi.evaluate(arrays, **options)["image"] == pytest.approx(expanded)
    with pytest.raises(ValueError, match="nmi: labels has several classes in 2 of 4 rows"):
        nmi.evaluate(arrays, label_rule="only", **options)


def test_the_same_seed_gives_the_same_scores():
    arrays = blobs(noise=3.0)
    assert nmi.evaluate(arrays, seed=3, **SMALL) == nmi.evaluate(arrays, seed=3, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 81}, "80 rows for 81 clusters"),
        ({"clusters": 0}, "clusters = 0"),
        ({"average": "mean"}, "average is 'mean'; .* takes arithmetic, geometric, min, max"),
        ({"features": "fc1"}, "features = 'fc1'; allowed: embedding, pool4"),
        ({"features": "pool4"}, r"missing \['image_pool4', 'audio_pool4'\]"),
        ({"modalities": ("image", "sound")}, r"modalities = \('image', 'sound'\); image, audio or both"),
        ({"modalities": ()}, r"modalities = \(\)"),
        ({"label_rule": "last"}, "label_rule is 'last'; .* takes only, first, expanded"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^(nmi: |evaluation\.nmi\.){message}"):
        nmi.evaluate(blobs(), **{**SMALL, **options})


def test_clips_without_a_class_are_refused():
    arrays = blobs()
    arrays["labels"][[1, 2, 3]] = False
    with pytest.raises(ValueError, match="nmi: labels has no class in 3 of 80 rows"):
        nmi.evaluate(arrays, **SMALL)
