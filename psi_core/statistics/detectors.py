"""PSI as a detector of attacked images: fitted on one half of the images, judged on the other.

Arrays are (layer, image), NaN where a layer is silent or an image lies outside the subset. Direction, weights and
threshold come from the fit half alone; every number of a `Detection` comes from the held-out half alone. The AUROC
over all images, which fits nothing, lives in `statistics`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi_core.statistics.paired import auroc, percent

FLAGGED_PERCENT = 95
"""Share of the fit half's attacked images that lie at or above the threshold."""

_PENALTY = 1.0
_ROUNDING = 1e-12
"""Spread of a constant layer by rounding alone, relative to its values."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How well attacked images of the held-out half are separated from reference ones; NaN where too few.

    Attributes:
        auroc: P(attacked scores higher), ties counted half; below 0.5 where the fit half's direction does not hold.
        auroc_ci_low: lower end of its 95 % interval by `paired_auroc`, which knows that both sets hold the same images;
            needs ten.
        auroc_ci_high: upper end.
        tpr_percent: share of the attacked images that are flagged, at the threshold of the fit half.
        tnr_percent: share of the reference images that are not.
        images: how many held-out images were counted: those with a value in both versions.
    """

    auroc: float
    auroc_ci_low: float
    auroc_ci_high: float
    tpr_percent: float
    tnr_percent: float
    images: int


def split_halves(images: int, seed: int) -> NDArray[np.bool_]:
    """Which images belong to the half that a detector is fitted on, (image,); the halves differ by one at most.

    By image, so that no detector has seen the benign version of what it is judged on.
    """
    is_fitted: NDArray[np.bool_] = np.random.default_rng(seed).permutation(images) % 2 == 0
    return is_fitted


def detect_by_layer(
    attacked: NDArray[np.floating], reference: NDArray[np.floating], fit_half: NDArray[np.bool_]
) -> list[Detection]:
    """What each layer alone detects, whichever direction, higher or lower, serves it better on the fit half.

    Args:
        attacked: (layer, image).
        reference: the same images before the attack, or in the control, (layer, image).
        fit_half: (image,), as of `split_halves`.
    """
    detections = []
    for values, others in zip(attacked, reference, strict=True):
        is_counted = ~(np.isnan(values) | np.isnan(others))
        fit, held_out = is_counted & fit_half, is_counted & ~fit_half
        # Without any fitted image this is NaN: higher, and no threshold.
        direction = -1 if auroc(values[fit], others[fit])[0] < 0.5 else 1
        detections.append(_judge(direction * values, direction * others, fit, held_out))
    return detections


def detect_by_all_layers(
    attacked: NDArray[np.floating], reference: NDArray[np.floating], fit_half: NDArray[np.bool_]
) -> Detection:
    """What all layers together detect, by a logistic regression fitted on the fit half.

    Layers are standardized by the fit half's mean and sd, both versions pooled; a silent layer counts as that mean,
    and one that is constant there, or always silent, is dropped. The summed loss bears an L2 penalty of |weights|² / 2,
    none on the intercept. Counted are images with a value in any layer, in both versions. Where every layer is
    dropped, all images score alike.

    Args:
        attacked: (layer, image).
        reference: the same images before the attack, or in the control, (layer, image).
        fit_half: (image,), as of `split_halves`.
    """
    versions = np.stack([attacked, reference]).astype(np.float64)
    is_counted: NDArray[np.bool_] = np.any(~np.isnan(versions), axis=1).all(axis=0)
    fit, held_out = is_counted & fit_half, is_counted & ~fit_half
    standardized = (_standardize(versions[:, layer], fit) for layer in range(versions.shape[1]))
    layers = [layer for layer in standardized if layer is not None]
    scores = np.zeros((2, versions.shape[-1]))
    if layers:
        weights = _logistic_weights(np.stack([layer[:, fit] for layer in layers]))
        # Layer by layer, so that equal images score equally to the last bit, wherever they stand in the array.
        for weight, layer in zip(weights, layers, strict=True):
            scores += weight * layer
    return _judge(scores[0], scores[1], fit, held_out)


def _standardize(versions: NDArray[np.float64], fit: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """One layer (version, image) in units of the fit half's sd around its mean; None where that half is constant."""
    is_there = ~np.isnan(versions)
    fitted = versions[is_there & fit]
    if not fitted.size or fitted.std() <= _ROUNDING * np.abs(fitted).max():
        return None
    standardized: NDArray[np.float64] = np.where(is_there, (versions - fitted.mean()) / fitted.std(), 0.0)
    return standardized


def _logistic_weights(layers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (layer,) that separate attacked from reference; the intercept shifts every score alike and is left out.

    Args:
        layers: standardized, (layer, version, image): attacked first.
    """
    from scipy.optimize import minimize

    signs = np.repeat([1.0, -1.0], layers.shape[-1])
    # Signed, with a last row for the intercept: a sample's margin is then weights times column, whatever its version.
    signed = np.concatenate([layers.reshape(len(layers), -1) * signs, signs[None]])

    def loss_and_gradient(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # Not `@`: BLAS's threads wait seconds for each other where an engine keeps the cores busy.
        margins = np.einsum("l,ls->s", weights, signed)
        losses = np.logaddexp(0.0, -margins)
        penalized = np.append(weights[:-1], 0.0)
        loss = losses.sum() + _PENALTY * np.square(penalized).sum() / 2
        gradient = _PENALTY * penalized - np.einsum("ls,s->l", signed, np.exp(-margins - losses))
        return float(loss / signs.size), gradient / signs.size

    # Not L-BFGS-B, which asks BLAS: ten times slower beside two busy processes, where TNC keeps its time.
    options = {"ftol": 0.0, "xtol": 0.0, "gtol": 1e-8, "maxfun": 5000}
    start = np.zeros(len(signed))
    found: NDArray[np.float64] = minimize(loss_and_gradient, start, jac=True, method="TNC", options=options).x
    return found[:-1]


def _judge(
    attacked: NDArray[np.floating],
    reference: NDArray[np.floating],
    fit: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
) -> Detection:
    """What scores (image,) detect on the held-out images, flagged from the threshold of the fitted ones upward."""
    images = int(np.count_nonzero(held_out))
    fitted = np.sort(attacked[fit])
    if not fitted.size:
        return Detection(math.nan, math.nan, math.nan, math.nan, math.nan, images)
    threshold = fitted[fitted.size * (100 - FLAGGED_PERCENT) // 100]
    flagged, kept = (attacked[held_out] >= threshold).sum(), (reference[held_out] < threshold).sum()
    area, low, high = auroc(attacked[held_out], reference[held_out])
    return Detection(area, low, high, float(percent(flagged, images)), float(percent(kept, images)), images)
