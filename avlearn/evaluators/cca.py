"""Retrieval after canonical correlation analysis has aligned the two modes (Objects that Sound 3.2, table 1, figure 9).

CCA finds the directions of both modes along which the pairs of the training split correlate most. Both modes are
projected on the first directions, scaled to length 1, and scored by `ndcg.py`, which gives the paper's row "L3-Net with
CCA".
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float

from avlearn.evaluators import ndcg
from avlearn.evaluators.numerics import array_checks

NEEDS = ("image_embedding", "audio_embedding", "labels")
PAIRING = ndcg.PAIRING
FIT_NEEDS = ("image_embedding", "audio_embedding")
TABLE = tuple(dataclasses.replace(row, title=f"{row.title}, CCA {{components}}") for row in ndcg.TABLE)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """A fitted CCA; column c of both matrices is the direction of canonical correlation c, the largest first.

    Attributes:
      image_mean, audio_mean: means of the features that it was fitted on.
      image_directions, audio_directions: directions to project on; on the training split the projections have a
        variance of 1 (without regularisation) and are uncorrelated.
      correlations: canonical correlations of the regularised problem.
      image_rank, audio_rank: ranks of the centred features.
    """

    image_mean: Float[np.ndarray, " image_dim"]
    audio_mean: Float[np.ndarray, " audio_dim"]
    image_directions: Float[np.ndarray, "image_dim components"]
    audio_directions: Float[np.ndarray, "audio_dim components"]
    correlations: Float[np.ndarray, " components"]
    image_rank: int
    audio_rank: int

    def image(self, features: Float[np.ndarray, "n image_dim"], components: int) -> Float[np.ndarray, "n components"]:
        """Project image features on the first directions and scale them to length 1; zero vectors stay zero."""
        return _length_one((features - self.image_mean) @ self.image_directions[:, :components])

    def audio(self, features: Float[np.ndarray, "n audio_dim"], components: int) -> Float[np.ndarray, "n components"]:
        """Project audio features on the first directions and scale them to length 1; zero vectors stay zero."""
        return _length_one((features - self.audio_mean) @ self.audio_directions[:, :components])


def evaluate(
    test: Mapping[str, np.ndarray],
    fit: Mapping[str, np.ndarray] | None = None,
    *,
    class_relevance: np.ndarray | None = None,
    components: int = 128,
    curve: Sequence[int] = (16, 32, 64, 128, 256, 512),
    regularisation: float = 0.0,
    k: int = 30,
    gain: str = "exponential",
    own_item_across: str = "kept",
    items_expected: int | None = None,
) -> dict[str, Any]:
    """Compute mean nDCG@k of the four combinations of query and database, on features aligned by CCA.

    Args:
      test: arrays of `NEEDS` (see `numerics/array_checks.py`).
      fit: arrays of `FIT_NEEDS` for corresponding pairs of the training split, row by row.
      class_relevance: relevance between classes, see `ndcg.evaluate`.
      components: number of directions; at most the lower rank of the two modes' features.
      curve: numbers of directions for `by_components` (OtS figure 9), all from the one fit.
      regularisation: see `align`.
      k, gain, own_item_across: see `ndcg.evaluate`.
      items_expected: clips of the split; None: the items given.

    Returns:
      Results of `ndcg.evaluate` for `components`; components (after clipping); by_components: number of directions to
      the four metrics; fit: items, image_rank, audio_rank, correlations (the first, and the one at `components`);
      regularisation.

    Raises:
      ValueError: arrays that are missing or wrong, no training features, or an option out of range.
    """
    image, audio, labels = array_checks.arrays("cca", test, NEEDS)
    if fit is None:
        raise ValueError(
            "cca: no training features (fit); it is fitted on --config.evaluation.fit_clips clips of the training split"
        )
    fit_image, fit_audio = array_checks.arrays("cca (fit)", fit, FIT_NEEDS)
    check_options(
        components=components,
        curve=curve,
        regularisation=regularisation,
        k=k,
        gain=gain,
        own_item_across=own_item_across,
    )
    _check_shapes((image, audio), (fit_image, fit_audio))
    alignment = align(fit_image, fit_audio, regularisation)
    most = len(alignment.correlations)
    counts = sorted({min(count, most) for count in (components, *curve)})
    results = {
        count: ndcg.evaluate(
            {
                "image_embedding": alignment.image(image.astype(np.float64), count),
                "audio_embedding": alignment.audio(audio.astype(np.float64), count),
                "labels": labels,
            },
            class_relevance=class_relevance,
            k=k,
            gain=gain,
            own_item_across=own_item_across,
            items_expected=items_expected,
            evaluator="cca",
        )
        for count in counts
    }
    used = min(components, most)
    return results[used] | {
        "components": used,
        "protocol": f"{results[used]['protocol']}; both modes on {used} directions of CCA, of length 1",
        "by_components": {str(count): {name: results[count][name] for name in ndcg.COMBINATIONS} for count in counts},
        "regularisation": f"ridge of {regularisation:g} x the mean variance of a mode's features",
        "fit": {
            "items": len(fit_image),
            "image_rank": alignment.image_rank,
            "audio_rank": alignment.audio_rank,
            "correlations": [float(alignment.correlations[0]), float(alignment.correlations[used - 1])],
        },
    }


def align(
    image: Float[np.ndarray, "n image_dim"], audio: Float[np.ndarray, "n audio_dim"], regularisation: float
) -> Alignment:
    """Fit CCA on pairs, row by row; all components at once, in float64.

    Each mode is whitened, and the singular value decomposition of the whitened covariance gives the directions.
    Directions in which a mode does not vary, to the precision of its type, are left out.

    Args:
      image: features of the frames.
      audio: features of the audio.
      regularisation: ridge on both covariances, in units of the mean variance of that mode's features; 0: textbook
        CCA.

    Raises:
      ValueError: a mode has the same features in all rows.
    """
    image_mean, white_image, whiten_image = _whitened("image_embedding", image, regularisation)
    audio_mean, white_audio, whiten_audio = _whitened("audio_embedding", audio, regularisation)
    left, correlations, right = scipy.linalg.svd(white_image.T @ white_audio / (len(image) - 1), full_matrices=False)
    return Alignment(
        image_mean=image_mean,
        audio_mean=audio_mean,
        image_directions=whiten_image @ left,
        audio_directions=whiten_audio @ right.T,
        correlations=correlations,
        image_rank=whiten_image.shape[1],
        audio_rank=whiten_audio.shape[1],
    )


def _whitened(
    name: str, features: Float[np.ndarray, "n dim"], regularisation: float
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "n rank"], Float[np.ndarray, "dim rank"]]:
    """Return the mean, the centred features times the whitening matrix, and that matrix, `[dim, rank]`."""
    exact = features.astype(np.float64)
    length = np.linalg.norm(exact)
    mean = exact.mean(axis=0)
    exact -= mean
    # Singular values, because the eigenvalues of the covariance are their squares and keep half of the digits.
    _, singular, axes = scipy.linalg.svd(exact, full_matrices=False)
    # In directions without variation, the features still vary by rounding: about eps * norm / sqrt(12 * dim).
    rounding = 10 * np.finfo(features.dtype).eps * length
    rank = int((singular > rounding).sum())
    if not rank:
        raise ValueError(f"cca (fit): {name} is the same in all {len(features)} rows; did the training collapse?")
    variance = np.square(singular) / (len(exact) - 1)
    ridge = regularisation * variance.sum() / features.shape[1]
    whiten = axes[:rank].T / np.sqrt(variance[:rank] + ridge)
    return mean, exact @ whiten, whiten


def _length_one(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def check_options(
    *, components: int, curve: Sequence[int], regularisation: float, k: int, gain: str, own_item_across: str
) -> None:
    """Check the options of the config.

    Raises:
      ValueError: an option is unknown or out of range.
    """
    ndcg.check_options(k=k, gain=gain, own_item_across=own_item_across, evaluator="cca")
    if min((components, *curve)) < 1:
        raise ValueError(
            f"cca: components = {components}, curve = {tuple(curve)}; at least 1 direction is needed "
            "(--config.evaluation.cca.components, --config.evaluation.cca.curve)"
        )
    if not 0 <= regularisation < np.inf:
        raise ValueError(
            f"cca: regularisation = {regularisation}; it must be 0 or more (--config.evaluation.cca.regularisation)"
        )


def check_clips(clips: int, fit_clips: int, *, components: int, **options: Any) -> str:
    """Check that there are clips to fit on and to retrieve; return a line if they allow fewer components, or nothing.

    Raises:
      ValueError: there are not.
    """
    ndcg.check_clips(clips)
    if fit_clips < 2:
        raise ValueError(f"cca: {fit_clips} row in fit; at least 2 are needed (--config.evaluation.fit_clips)")
    if components < fit_clips:
        return ""
    return (
        f"cca: at most {fit_clips - 1} directions, not {components} (--config.evaluation.cca.components), since it is "
        f"fitted on {fit_clips} clips."
    )


def _check_shapes(
    test: tuple[Float[np.ndarray, "n image_dim"], Float[np.ndarray, "n audio_dim"]],
    fit: tuple[Float[np.ndarray, "m fit_image_dim"], Float[np.ndarray, "m fit_audio_dim"]],
) -> None:
    dims = [features.shape[1] for features in (*test, *fit)]
    if dims[:2] != dims[2:]:
        raise ValueError(
            f"cca: features have {dims[0]} (image) and {dims[1]} (audio) dimensions, but those of fit {dims[2]} and "
            f"{dims[3]}; both must come from one network"
        )
    check_clips(len(test[0]), len(fit[0]), components=1)
