import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from avlearn.evaluators import cca, ndcg

OPTIONS = {"class_relevance": np.eye(4, dtype=int), "k": 5}


def pairs(rows, seed=0, image_dim=6, audio_dim=5, shared=3):
    """Return two modes that share latent variables, each with independent noise."""
    mixing, rng = np.random.default_rng(7), np.random.default_rng(seed)
    latent = rng.normal(size=(rows, shared))
    image = latent @ mixing.normal(size=(shared, image_dim)) + 0.5 * rng.normal(size=(rows, image_dim)) + 3
    audio = latent @ mixing.normal(size=(shared, audio_dim)) + 0.5 * rng.normal(size=(rows, audio_dim)) - 1
    labels = np.eye(4, dtype=bool)[(latent[:, 0] > 0) + 2 * (latent[:, 1] > 0)]
    return {"image_embedding": image, "audio_embedding": audio, "labels": labels}


def fitted(arrays, regularisation=0.0):
    return cca.align(arrays["image_embedding"], arrays["audio_embedding"], regularisation)


def centred(features):
    return features - features.mean(axis=0)


def parallel(one, other):
    """Return whether columns agree up to sign and length."""
    return np.abs(np.sum(one * other, axis=0)) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)


def test_agrees_with_scikit_learn():
    arrays = pairs(300)
    alignment = fitted(arrays)
    other = CCA(n_components=5, max_iter=20_000, tol=1e-14).fit(arrays["image_embedding"], arrays["audio_embedding"])
    image, audio = other.transform(arrays["image_embedding"], arrays["audio_embedding"])
    ours = centred(arrays["image_embedding"]) @ alignment.image_directions
    np.testing.assert_allclose(parallel(ours, image), 1, atol=1e-6)
    ours = centred(arrays["audio_embedding"]) @ alignment.audio_directions
    np.testing.assert_allclose(parallel(ours, audio), 1, atol=1e-6)
    correlations = [np.corrcoef(image[:, c], audio[:, c])[0, 1] for c in range(5)]
    np.testing.assert_allclose(alignment.correlations, correlations, atol=1e-8)


@pytest.mark.parametrize("regularisation", [0.0, 0.1])
def test_agrees_with_the_generalised_eigenproblem(regularisation):
    """C_xy C_yy^-1 C_yx w = rho^2 C_xx w, with a ridge on C_xx and C_yy."""
    arrays = pairs(200)
    image, audio = arrays["image_embedding"], arrays["audio_embedding"]
    both = np.cov(image, audio, rowvar=False)
    xx, xy, yy = both[:6, :6], both[:6, 6:], both[6:, 6:]
    xx = xx + regularisation * np.trace(xx) / 6 * np.eye(6)
    yy = yy + regularisation * np.trace(yy) / 5 * np.eye(5)
    squares, directions = scipy.linalg.eigh(xy @ np.linalg.solve(yy, xy.T), xx)
    alignment = fitted(arrays, regularisation)
    np.testing.assert_allclose(alignment.correlations, np.sqrt(squares[::-1][:5]), atol=1e-10)
    np.testing.assert_allclose(parallel(alignment.image_directions, directions[:, ::-1][:, :5]), 1, atol=1e-9)
    # Of unit variance in that metric, and the pairs' covariance is the correlations on the diagonal.
    w, v = alignment.image_directions, alignment.audio_directions
    np.testing.assert_allclose(w.T @ xx @ w, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(v.T @ yy @ v, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(w.T @ xy @ v, np.diag(alignment.correlations), atol=1e-10)


def test_by_hand():
    # Audio is the image rotated by 90 degrees and stretched: both correlations are 1.
    image = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    audio = image @ np.array([[0.0, 5.0], [-3.0, 0.0]]) + [10.0, 20.0]
    alignment = cca.align(image, audio, 0.0)
    np.testing.assert_allclose(alignment.correlations, [1, 1])
    np.testing.assert_allclose(alignment.image(image, 2), alignment.audio(audio, 2), atol=1e-12)
    np.testing.assert_allclose(alignment.audio_mean, [10, 20])
    np.testing.assert_allclose(np.linalg.norm(alignment.image(image, 2), axis=1), 1)
    # A ridge of the mean variance: (8/3 + 2/3) / 2 = 5/3 for the image.
    ridged = cca.align(image, audio, 1.0)
    variances, ridge = np.array([8 / 3, 2 / 3]), 5 / 3
    stretched = variances * [25, 9]
    of_pair = np.sqrt(variances * stretched) / np.sqrt((variances + ridge) * (stretched + stretched.mean()))
    np.testing.assert_allclose(ridged.correlations, np.sort(of_pair)[::-1])


def test_metrics_equal_ndcg_on_the_projections():
    train, test = pairs(300), pairs(80, seed=1)
    found = cca.evaluate(test, train, components=3, curve=(1, 4), gain="linear", items_expected=90, **OPTIONS)
    alignment = fitted(train)
    for count, metrics in found["by_components"].items():
        image = (test["image_embedding"] - train["image_embedding"].mean(axis=0)) @ alignment.image_directions
        audio = (test["audio_embedding"] - train["audio_embedding"].mean(axis=0)) @ alignment.audio_directions
        projected = {"labels": test["labels"]}
        for name, each in (("image_embedding", image), ("audio_embedding", audio)):
            each = each[:, : int(count)]
            projected[name] = each / np.linalg.norm(each, axis=1, keepdims=True)
        expected = ndcg.evaluate(projected, gain="linear", **OPTIONS)
        assert metrics == {name: pytest.approx(expected[name]) for name in ndcg.COMBINATIONS}
        if count == "3":
            assert found["im-aud"] == pytest.approx(expected["im-aud"])
            assert found["baselines"] == expected["baselines"]
    assert list(found["by_components"]) == ["1", "3", "4"]
    assert (found["components"], found["items"], found["items_expected"]) == (3, 80, 90)
    assert found["fit"]["items"] == 300
    assert found["fit"]["correlations"] == pytest.approx([alignment.correlations[0], alignment.correlations[2]])


def test_alignment_makes_retrieval_work():
    """Unaligned modes are unrelated; aligned items with the same latent variables are near each other."""
    train, test = pairs(400, audio_dim=6), pairs(100, seed=1, audio_dim=6)
    before = ndcg.evaluate(test, **OPTIONS)
    after = cca.evaluate(test, train, components=3, curve=(), **OPTIONS)
    assert after["im-aud"] > before["im-aud"] + 0.2
    assert after["aud-im"] > after["baselines"]["chance"]["aud-im"] + 0.3


def test_components_are_clipped_to_the_rank():
    train, test = pairs(300), pairs(40, seed=1)
    found = cca.evaluate(test, train, components=128, curve=(2, 16, 512), **OPTIONS)
    assert found["components"] == 5
    assert list(found["by_components"]) == ["2", "5"]
    assert (found["fit"]["image_rank"], found["fit"]["audio_rank"]) == (6, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dependent_and_dead_features_are_left_out(dtype):
    """Features that are constant, or sums of others up to their rounding, add no direction."""
    arrays = pairs(300)
    image = arrays["image_embedding"]
    more = np.hstack([image, image[:, :1] + image[:, 1:2], np.zeros((300, 1)), np.full((300, 1), 0.7)])
    alignment = cca.align(more.astype(dtype), arrays["audio_embedding"].astype(dtype), 0.0)
    assert (alignment.image_rank, alignment.audio_rank) == (6, 5)
    np.testing.assert_allclose(alignment.correlations, fitted(arrays).correlations, atol=1e-5)


def test_fewer_pairs_than_features():
    train = pairs(4)
    alignment = fitted(train)
    assert alignment.image_rank == alignment.audio_rank == 3  # one is lost to the mean
    np.testing.assert_allclose(alignment.correlations, 1)


def test_regularisation_is_named():
    found = cca.evaluate(pairs(40, seed=1), pairs(100), regularisation=0.01, curve=(), **OPTIONS)
    assert found["regularisation"].startswith("ridge of 0.01 x the mean variance")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, r"components = 0, curve = \(16, .*at least 1 direction"),
        ({"curve": (4, 0)}, r"components = 128, curve = \(4, 0\); at least 1 direction"),
        ({"regularisation": -1.0}, r"regularisation = -1.0; it must be 0 or more"),
        ({"regularisation": np.nan}, r"regularisation = nan; it must be 0 or more"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"cca: {message}"):
        cca.evaluate(pairs(10), pairs(20), **{**OPTIONS, **options})


def test_wrong_features_are_refused():
    test, train = pairs(10), pairs(20)
    with pytest.raises(ValueError, match=r"cca: no training features \(fit\).*--config.evaluation.fit_clips"):
        cca.evaluate(test, **OPTIONS)
    with pytest.raises(ValueError, match=r"cca \(fit\): missing \['audio_embedding'\]"):
        cca.evaluate(test, {"image_embedding": train["image_embedding"]}, **OPTIONS)
    with pytest.raises(ValueError, match=r"features have 6 .* and 5 .* dimensions, but those of fit 4 and 5"):
        cca.evaluate(test, train | {"image_embedding": np.ones((20, 4))}, **OPTIONS)
    with pytest.raises(ValueError, match="1 row in fit; at least 2"):
        cca.evaluate(test, pairs(1), **OPTIONS)
    with pytest.raises(ValueError, match="image_embedding is the same in all 20 rows"):
        cca.evaluate(test, train | {"image_embedding": np.full((20, 6), 0.1)}, **OPTIONS)


def test_float16_has_the_directions_of_its_values():
    """The sum of the squares, 256,000, is more than float16 can hold."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(4000, 32)).astype(np.float16)
    audio = (image[:, :16] + rng.normal(size=(4000, 16))).astype(np.float16)
    half, whole = cca.align(image, audio, 0.0), cca.align(image.astype(float), audio.astype(float), 0.0)
    assert (half.image_rank, half.audio_rank) == (32, 16)
    np.testing.assert_array_equal(half.correlations, whole.correlations)
