"""Images in a fixed order, whatever the batch size; the folder that holds them; bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dimr import build
from dimr.config.runs import check_network
from dimr.config.schema import SampleConfig
from dimr.data.autoencoder import to_uint8
from dimr.runtime.errors import DimrError
from dimr.sampling.folder import read_samples, write_samples
from dimr.sampling.generate import generate, labels_in_order, load_network

SIZES = {
    "layers": [1, 1], "dims": [8, 8], "heads": 2, "norm": "rms",
    "input_size": 8, "channels": 3, "num_classes": 5, "time_map": "pixel",
}  # fmt: skip
CONFIG = {"family": "dimr", "schedule": "pixel", **SIZES}
NETWORK = check_network(CONFIG, "test")


def phase(**changes):
    values = {
        "seed": 1, "count": 12, "steps": 4, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.5, "power": 1.0}, **changes,
    }  # fmt: skip
    return SampleConfig.model_validate_json(json.dumps(values))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build("dimr", **SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def draw(network, batch, **options):
    batches = generate(
        network, NETWORK, phase(), to_uint8, batch=batch, device=torch.device("cpu"), **options
    )
    return np.concatenate(list(batches))


def test_image_i_does_not_depend_on_the_batch_size(network):
    whole = draw(network, 12)
    assert whole.shape == (12, 8, 8, 3)
    assert whole.dtype == np.uint8
    assert whole.std() > 10  # images, not a constant
    for batch in (1, 5, 7):
        # rounding of matrix products may move a pixel by one level, and no more
        assert np.abs(draw(network, batch).astype(int) - whole).max() <= 1
    part = draw(network, 12, indices=range(5, 9))
    assert np.abs(part.astype(int) - whole[5:9]).max() <= 1


def test_labels_are_interleaved_and_reach_the_network(network):
    assert labels_in_order(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x, t, condition):
            seen.append(condition.labels)
            return network(x, t, condition)

    draw(Spy(), 4)
    assert seen[0].tolist() == [0, 1, 2, 3, 5, 5, 5, 5]  # with "no class" beside each
    assert seen[-1].tolist() == [3, 4, 0, 1, 5, 5, 5, 5]


def test_pixel_values():
    x = torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0, 0.5]).view(1, 3, 1, 2)
    assert to_uint8(x).shape == (1, 1, 2, 3)
    assert sorted(to_uint8(x).ravel().tolist()) == [0, 0, 128, 191, 255, 255]


def test_folder_of_samples(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    labels = labels_in_order(20, 5)
    write_samples(tmp_path / "s", images, labels, list("abcde"), "key")
    back, back_labels = read_samples(tmp_path / "s")
    assert np.array_equal(back, images)
    assert np.array_equal(back_labels, labels)
    with np.load(tmp_path / "s/samples.npz") as archive:
        assert np.array_equal(archive["arr_0"], images)
    grid = Image.open(tmp_path / "s/grid.png")
    assert grid.height == 5 * (48 + 2)
    zoomed = np.asarray(grid)[:48, -0:][:, 24 + 7 : 24 + 7 + 48]
    assert np.array_equal(zoomed[::6, ::6], images[0])  # the first image of class a, enlarged


def save(network, folder, config=None):
    folder.mkdir()
    save_file(network.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or CONFIG))
    return folder


def test_load_network_round_trip(network, tmp_path):
    loaded, sizes = load_network(save(network, tmp_path / "model"))
    assert sizes == NETWORK
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.state_dict().values(), network.state_dict().values(), strict=True)
    )
    assert not loaded.training


def test_bad_models_are_one_line(network, tmp_path):
    folder = save(network, tmp_path / "a")
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DimrError, match=r"a/diffusion_pytorch_model.*not readable as safetensors"):
        load_network(folder)
    other = save(network, tmp_path / "b", {**CONFIG, "dims": [8, 16]})
    with pytest.raises(DimrError, match=r"b/diffusion.*weights of another network") as caught:
        load_network(other)
    assert "\n" not in str(caught.value)
    typo = save(network, tmp_path / "c", {**CONFIG, "nrom": "rms"})
    with pytest.raises(DimrError, match=r"c/config\.json: nrom: unknown key \(did you mean norm"):
        load_network(typo)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DimrError, match=r"empty/config\.json: no such file"):
        load_network(tmp_path / "empty")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_refused(network, value):
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    images = generate(network, NETWORK, phase(), to_uint8, batch=12, device=torch.device("cpu"))
    with pytest.raises(DimrError, match="NaN or infinity: are the weights damaged"):
        next(images)
