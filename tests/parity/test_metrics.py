"""FID, precision and recall against what ADM's evaluation suite answered, with TensorFlow."""

import pytest
import torch

from dimr.evaluation.fidelity import metrics_of_features
from dimr.evaluation.manifold import manifold_radii

LAYERS = {"isc": "features", "fid": "features", "prc": "features"}


@pytest.fixture(scope="module")
def adm(vectors):
    return vectors("adm_metrics")


@pytest.fixture(scope="module")
def metrics(adm):
    """A function of the kind of distances."""

    def of(distances):
        generated, reference = ({"features": adm[name]} for name in ("generated", "reference"))
        return metrics_of_features(generated, reference, LAYERS, prc_distances=distances)

    return of


def test_computed_as_adm_does(adm, metrics):
    found, (precision, recall, fid) = metrics("float16"), adm["precision_recall_fid"].tolist()
    assert found["fid"] == pytest.approx(fid, rel=1e-5)
    assert (found["precision"], found["recall"]) == (precision, recall)


def test_float32_distances_are_near(adm, metrics):
    found, (precision, recall, _) = metrics("float32"), adm["precision_recall_fid"].tolist()
    assert found["precision"] == pytest.approx(precision, abs=3e-3)
    assert found["recall"] == pytest.approx(recall, abs=3e-3)


@pytest.mark.parametrize("name", ["generated", "reference"])
def test_radii_are_those_of_adm_up_to_the_rounding_of_norms(adm, name):
    """TensorFlow adds squares up in float16 (on the CPU in 32 running sums), we in float32."""
    theirs = adm[f"radii_{name}"]
    radii = manifold_radii(adm[name], 3, "float16")
    torch.testing.assert_close(radii, theirs, rtol=2**-8, atol=0)  # four steps of float16
