"""Images in a fixed order, whatever the batch size; the models they are drawn from."""

import numpy as np
import pytest
import torch

from dimr.config.variants import check_network
from dimr.data.autoencoder import to_uint8
from dimr.runtime.errors import DimrError
from dimr.sampling.model import load_network
from dimr.sampling.sampler import labels_in_order

from .conftest import draw_all, sampling_of


@pytest.mark.parametrize("family", ["dimr", "uvit", "dit"])
def test_image_i_does_not_depend_on_the_batch_size(family, make_network):
    network, config = make_network(family)
    whole = draw_all(network, config, sampling_of())
    assert whole.shape == (12, 8, 8, 3)
    assert whole.std() > 10  # images, not a constant
    for batch in (1, 5, 7):
        # rounding of matrix products may move a pixel by one level, and no more
        assert np.abs(draw_all(network, config, sampling_of(), batch=batch) - whole).max() <= 1
    part = draw_all(network, config, sampling_of(), indices=range(5, 9))
    assert np.abs(part - whole[5:9]).max() <= 1


def test_labels_are_interleaved_and_reach_the_network(make_network):
    assert labels_in_order(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    network, config = make_network("dimr")
    seen = []

    def watched(x, t, condition):
        seen.append(condition.labels.tolist())
        return network(x, t, condition)

    draw_all(watched, config, sampling_of(), batch=4)
    assert seen[0] == [0, 1, 2, 3, 5, 5, 5, 5]  # with "no class" beside each
    assert seen[-1] == [3, 4, 0, 1, 5, 5, 5, 5]


def test_pixel_values():
    x = torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0, 0.5]).view(1, 3, 1, 2)
    assert to_uint8(x).shape == (1, 1, 2, 3)
    assert sorted(to_uint8(x).ravel().tolist()) == [0, 0, 128, 191, 255, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_refused(make_network, value):
    network, config = make_network("dimr")
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    with pytest.raises(DimrError, match="NaN or infinity: are the weights damaged"):
        draw_all(network, config, sampling_of())


def test_a_model_folder_is_read_whole(make_network, model_folder):
    network, config = make_network("dimr")
    loaded, read = load_network(model_folder())
    assert read == check_network(config, "test")
    assert not loaded.training
    theirs = loaded.state_dict()
    assert all(torch.equal(theirs[name], own) for name, own in network.state_dict().items())


def test_bad_models_are_one_line(model_folder, tmp_path):
    folder = model_folder(changes={"dims": [8, 16]})
    with pytest.raises(DimrError, match=r"model/diffusion.*weights of another network") as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DimrError, match=r"model/diffusion_pytorch_model.*not readable as safe"):
        load_network(folder)
    with pytest.raises(DimrError, match=r"config\.json: no such file"):
        load_network(tmp_path)
