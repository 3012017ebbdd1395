"""The metrics written from their definitions in numpy."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from tests.support.inception import pictures


class Definitions:
    """Everything in float64, nothing from torch-fidelity."""

    @staticmethod
    def frechet(a, b):
        """FID of features (N, D), (M, D) with the matrix square root; for D below N and M."""
        return Definitions.frechet_of((a.mean(0), np.cov(a.T)), (b.mean(0), np.cov(b.T)))

    @staticmethod
    def frechet_of(one, other):
        """FID of pairs of mean and covariance."""
        (mean_a, cov_a), (mean_b, cov_b) = one, other
        root = scipy.linalg.sqrtm(cov_a @ cov_b).real
        return ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)

    @staticmethod
    def frechet_of_few(a, b):
        """FID of fewer features than their width, exact where the matrix square root is not.

        With covariances A'A and B'B, the trace of the root of their product is the sum of the
        singular values of AB'.
        """
        half_a, half_b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
        cross = np.linalg.svd(half_a @ half_b.T, compute_uv=False).sum()
        return (
            ((a.mean(0) - b.mean(0)) ** 2).sum() + (half_a**2).sum() + (half_b**2).sum() - 2 * cross
        )

    @staticmethod
    def inception_scores(logits, splits):
        """Mean and standard deviation over consecutive splits."""
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        edges = [k * len(p) // splits for k in range(splits + 1)]
        scores = []
        for start, end in itertools.pairwise(edges):
            part = p[start:end]
            entropy_of_mean = -(part.mean(0) * np.log(part.mean(0))).sum()
            mean_entropy = -(part * np.log(part)).sum(1).mean()
            scores.append(np.exp(entropy_of_mean - mean_entropy))
        return np.mean(scores), np.std(scores)

    @staticmethod
    def share_inside(points, manifold, k, strict=False):
        """Share of ``points`` within a ball of ``manifold``: up to each one's k-th neighbour."""
        inside = np.zeros(len(points), bool)
        for i, centre in enumerate(manifold):
            others = np.delete(manifold, i, axis=0)
            radius = np.sort(np.sqrt(((others - centre) ** 2).sum(1)))[k - 1]
            distance = np.sqrt(((points - centre) ** 2).sum(1))
            inside |= (distance < radius) if strict else (distance <= radius)
        return inside.mean()

    @staticmethod
    def adm_precision_recall(generated, real, k=3, dtype=np.float64):
        """As the ADM suite has it: squared distances, the k-th of a sorted row that holds itself.

        ``dtype`` is that of the features and of each step: the suite's own is float16.
        """

        def squared(u, v):
            u, v = u.astype(dtype), v.astype(dtype)
            norms = (u * u).sum(1)[:, None] + (v * v).sum(1)[None]
            return np.maximum(norms - 2 * (u @ v.T), 0)

        def radii(features):
            distances = squared(features, features)
            return np.partition(distances, range(k + 1), axis=1)[:, k]  # the image itself is 0

        between = squared(generated, real)
        precision = (between <= radii(real)[None]).any(1).mean()
        recall = (between <= radii(generated)[:, None]).any(0).mean()
        return precision, recall


def save_pictures(folder, images, kind="png", name="{}", **options):
    """Write images as files named by their number."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{name.format(number)}.{kind}", **options)
    return folder


@pytest.fixture(scope="session")
def definitions():
    return Definitions


@pytest.fixture(scope="session")
def make_pictures():
    return pictures


@pytest.fixture(scope="session")
def inception_features(inception_weights):
    """A function of images that gives float64 features (N, 2048) and unbiased logits (N, 1008)."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3(
        "alone", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )
    matrix = network.fc.weight.double().numpy().T

    def features(images):
        with torch.no_grad():
            found = network(torch.from_numpy(images).permute(0, 3, 1, 2))[0].double().numpy()
        return found, found @ matrix

    return features
