"""What all tests share."""

import os

import pytest

# Tiny tensors: more threads than cores (other jobs, pytest workers) make them 20 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def miniature():
    """The miniature ImageNet's images, which writes itself in any published form."""
    from .miniature import make_miniature  # pyarrow and scipy, slow to import

    return make_miniature()


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception."""
    from .inception import save_random_inception  # torch-fidelity, slow to import

    return save_random_inception(tmp_path_factory.mktemp("inception"))
