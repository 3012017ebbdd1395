"""What all tests share."""

import os

import pytest

# Tiny tensors: more threads than cores (other jobs, pytest workers) make them 20 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` takes them out
def pytest_collection_modifyitems(items):
    """Folders of whole pipelines and files with slow tests first: what is short fills the end."""
    folders = ("workflow", "slurm", "robustness")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent.name not in folders, item.path not in slow))


@pytest.fixture(scope="session")
def miniature():
    """The miniature ImageNet's images, which writes itself in any published form."""
    from tests.support.miniature import make_miniature  # pyarrow and scipy, slow to import

    return make_miniature()


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """A file of random weights for torch-fidelity's Inception."""
    from tests.support.inception import save_random_inception  # torch-fidelity, slow to import

    return save_random_inception(tmp_path_factory.mktemp("inception"))


@pytest.fixture(scope="session")
def vae():
    """An autoencoder with random weights: images 16 x 16, latents 4 x 8 x 8."""
    import torch
    from diffusers import AutoencoderKL  # slow to import

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=2,
            sample_size=16,
            scaling_factor=0.5,
            mid_block_add_attention=False,
        ).eval()
