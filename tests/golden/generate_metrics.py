"""Writes metrics.json and metrics/*.npz: metrics of torch-fidelity, SciPy and mpmath in float64. See README.md."""

import json
from pathlib import Path

import mpmath
import numpy as np
import scipy.linalg
import scipy.stats
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

FOLDER = Path(__file__).parent


def features(seed, rows, width, offset=0.0):
    """Features from Knuth's generator of 64 bits; `tests/golden_features/mod.rs` of ddpm-metrics computes the same.

    Column j is multiplied by 1 / (1 + j) and every value is added to half of the one before it, so that covariances
    are far from diagonal. All values are multiples of 2^-20, exact in float32.
    """
    state, values = seed, np.zeros((rows, width))
    for i in range(rows):
        before = 0.0
        for j in range(width):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            uniform = (state >> 40) / 2**24
            before = np.floor((0.5 * before + (uniform - 0.5) / (1 + j) + offset) * 2**20) / 2**20
            values[i, j] = before
    assert (values == values.astype(np.float32)).all()
    return values


def exact_root_trace(sigma1, sigma2):
    """The trace of (sigma1 sigma2)^(1/2) with 60 digits, from the symmetric form."""
    mpmath.mp.dps = 60
    values, vectors = mpmath.eigsy(mpmath.matrix(sigma1.tolist()))
    # Eigenvalues at the precision of float64 are zeros of the covariance.
    cut = max(values) * mpmath.mpf(len(sigma1)) * mpmath.mpf(2) ** -52
    root = mpmath.diag([mpmath.sqrt(v) if v > cut else mpmath.mpf(0) for v in values])
    half = vectors * root * vectors.T
    product = half * mpmath.matrix(sigma2.tolist()) * half
    values = mpmath.eigsy(product, eigvals_only=True)
    return float(sum(mpmath.sqrt(v) if v > 0 else mpmath.mpf(0) for v in values))


def exact_frechet_of_features(x, y):
    """The Fréchet distance with 60 digits from the features, by the singular values of the product of the centered
    features. It is exact for fewer samples than dimensions too."""
    mpmath.mp.dps = 60
    total = mpmath.mpf(0)
    centered = []
    means = []
    for values in (x, y):
        matrix = mpmath.matrix(values.tolist())
        mean = [mpmath.fsum(matrix[:, j]) / matrix.rows for j in range(matrix.cols)]
        for i in range(matrix.rows):
            for j in range(matrix.cols):
                matrix[i, j] = (matrix[i, j] - mean[j]) / mpmath.sqrt(matrix.rows - 1)
        total += mpmath.fsum(value**2 for value in matrix)
        centered.append(matrix)
        means.append(mean)
    singular = mpmath.svd_r(centered[0] * centered[1].T, compute_uv=False)
    total += mpmath.fsum((a - b) ** 2 for a, b in zip(*means))
    return float(total - 2 * mpmath.fsum(singular))


def frechet(name, x, y, exact):
    one, two = (fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y))
    result = dict(torch_fidelity=fid_statistics_to_metric(one, two, False)["frechet_inception_distance"])
    root = scipy.linalg.sqrtm(one["sigma"] @ two["sigma"])
    difference = one["mu"] - two["mu"]
    traces = np.trace(one["sigma"]) + np.trace(two["sigma"])
    result["scipy"] = float(difference @ difference + traces - 2 * np.trace(root).real)
    result["symmetric_60_digits"] = float(
        difference @ difference + traces - 2 * exact_root_trace(one["sigma"], two["sigma"])
    )
    if exact:
        result["features_60_digits"] = exact_frechet_of_features(x, y)
    print(name, result)
    return result


def kid(x, y, **arguments):
    size = len(x)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    result = kid_features_to_metric(*tensors, kid_subsets=1, kid_subset_size=size, verbose=False, **arguments)
    return result["kernel_inception_distance_mean"]


def inception(logits, splits):
    result = isc_features_to_metric(torch.from_numpy(logits), splits, shuffle=False)
    return [result["inception_score_mean"], result["inception_score_std"]]


def precision_recall(x, y, neighbors):
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    result = prc_features_to_metric(*tensors, prc_neighborhood=neighbors, verbose=False)
    # Shares are means of float32; the count is exact.
    counts = result["precision"] * len(x), result["recall"] * len(y)
    return [round(count) for count in counts]


def mann_whitney(x, y):
    """U of x, and z from the normal approximation without continuity correction."""
    result = scipy.stats.mannwhitneyu(x, y, use_continuity=False, alternative="less", method="asymptotic")
    return [float(result.statistic), float(scipy.stats.norm.ppf(result.pvalue))]


def statistics_files(x):
    mu, sigma = np.mean(x, axis=0), np.cov(x, rowvar=False)
    folder = FOLDER / "metrics"
    folder.mkdir(exist_ok=True)
    small = dict(mu=mu.astype(np.float32), sigma=sigma.astype(np.float32))
    spatial = dict(mu_s=mu[:2], sigma_s=sigma[:2, :2])
    images = np.zeros((2, 4, 4, 3), np.uint8)
    np.savez_compressed(folder / "pytorch_fid.npz", mu=mu, sigma=sigma)
    np.savez(folder / "edm.npz", mu=mu, sigma=sigma)
    np.savez(folder / "adm.npz", arr_0=images, mu=mu, sigma=sigma, **spatial)
    np.savez(folder / "f32.npz", **small)
    np.savez(folder / "big_endian.npz", mu=mu.astype(">f8"), sigma=np.asfortranarray(sigma))
    np.savez(folder / "images_only.npz", images)
    np.savez(folder / "objects.npz", mu=np.array([None, {}], dtype=object), sigma=sigma)
    return dict(mu=mu.tolist(), sigma=sigma.ravel().tolist())


def main():
    x, y = features(1, 300, 12), features(2, 300, 12, 0.05)
    few_x, few_y = features(3, 7, 12), features(4, 9, 12, 0.05)
    # Logits with a range of about 40, so that some predictions are nearly certain.
    logits = features(5, 203, 10) * 64
    ties = [[round(abs(v), 2) for v in features(seed, rows, 1)[:, 0]] for seed, rows in ((6, 40), (7, 60))]
    result = dict(
        mean=np.mean(x, axis=0).tolist(),
        covariance=np.cov(x, rowvar=False).ravel().tolist(),
        frechet=frechet("full rank", x, y, False),
        frechet_few=frechet("few samples", few_x, few_y, True),
        frechet_few_and_many=frechet("few and many samples", few_x, y, False),
        kid=kid(x, y),
        kid_other_kernel=kid(x, y, kid_kernel_poly_degree=2, kid_kernel_poly_gamma=0.25, kid_kernel_poly_coef0=0.5),
        inception_score=inception(logits, 10),
        inception_score_one_split=inception(logits, 1),
        precision_recall={str(k): precision_recall(x, y, k) for k in (1, 3, 5)},
        distances=ties,
        mann_whitney=mann_whitney(*ties),
        file=statistics_files(features(8, 20, 3)),
        numpy=np.__version__,
        torch=torch.__version__,
    )
    path = FOLDER / "metrics.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
