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
            return np.maximum((u * u).sum(1)[:, None] - 2 * (u @ v.T) + (v * v).sum(1), 0)

        def radii(features):
            distances = squared(features, features)
            return np.partition(distances, range(k + 1), axis=1)[:, k]  # the image itself is 0

        between = squared(real, generated)
        precision = (between <= radii(real)[:, None]).any(0).mean()
        recall = (between <= radii(generated)).any(1).mean()
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
def inception(inception_weights):
    """torch-fidelity's Inception with random weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3(
        "alone", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )


@pytest.fixture(scope="session")
def spatial_features(inception):
    """A function of images that gives the features of sFID, float64 (N, 2023): layer by layer."""
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    layers = [
        "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1",
        "Conv2d_4a_3x3", "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b",
        "Mixed_6c", "Mixed_6d.branch1x1",
    ]  # fmt: skip

    def features(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        x = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
        x = (x - 128) / 128
        with torch.no_grad():
            for layer in layers:
                x = inception.get_submodule(layer)(x)
        first = x.double().numpy()[:, :7]
        assert first.shape[2:] == (17, 17)
        return np.moveaxis(first, 1, 3).reshape(len(images), -1)  # as TensorFlow: channels last

    return features


@pytest.fixture(scope="session")
def inception_features(inception):
    """A function of images that gives float64 features (N, 2048) and unbiased logits (N, 1008)."""
    network = inception
    matrix = network.fc.weight.double().numpy().T

    def features(images):
        with torch.no_grad():
            found = network(torch.from_numpy(images).permute(0, 3, 1, 2))[0].double().numpy()
        return found, found @ matrix

    return features
