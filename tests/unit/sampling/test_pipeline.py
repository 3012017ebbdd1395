"""The diffusers surface: the same networks, images and files as without diffusers."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dimr
from dimr.checkpoints import write_class_names
from dimr.data.autoencoder import decode, to_uint8
from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.models.conditioning import LabelCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import noise_by_index
from dimr.sampling.model import load_network

from .conftest import draw, draw_all, make_pipe, quiet, sampling_of

FAMILIES = ["dimr", "uvit", "dit"]


def prediction(model):
    """What a model or a plain network says of fixed images, one of them without a class."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return model(x.to(dtype), torch.tensor(0.5), torch.tensor([1, 5]))


def test_importing_dimr_imports_nothing_heavy():
    code = (
        "import sys, dimr; assert 'DiMRPipeline' in dir(dimr); import dimr.config.schema\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)\n"
        "import dimr.models; assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'DiMR'"):
        dimr.DiMR  # noqa: B018


# --- DiMRModel ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_runs_folder_is_read_and_written_again(family, model_folder, tmp_path):
    folder = model_folder(family)
    network, sizes = load_network(folder)
    model, info = dimr.DiMRModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert not model.training
    theirs, ours = model.state_dict(), network.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)

    model.save_pretrained(tmp_path / "saved")
    weights = load_file(tmp_path / "saved/diffusion_pytorch_model.safetensors")
    assert set(weights) == set(ours)
    config = json.loads((tmp_path / "saved/config.json").read_text())
    assert config["_class_name"] == "DiMRModel"
    again, sizes_again = load_network(tmp_path / "saved")
    assert sizes_again == sizes
    torch.testing.assert_close(prediction(model), prediction(again))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_networks_weights_are_shared(family, make_network):
    network, config = make_network(family)
    model = dimr.DiMRModel.from_network(network, config["schedule"])
    assert model.config.schedule == config["schedule"]
    assert [p.data_ptr() for p in model.parameters()] == [
        p.data_ptr() for p in network.parameters()
    ]
    # of its own, diffusers would give the size of this name
    assert family == "dimr" or isinstance(model.patch, torch.nn.Conv2d)
    for ours, theirs in zip(prediction(model), prediction(network), strict=True):
        assert torch.equal(ours, theirs)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = prediction(model)[-1]
        torch.testing.assert_close(prediction(copied)[-1], before)
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.mul_(2)
        assert not torch.allclose(prediction(copied)[-1], before)
        assert torch.equal(prediction(model)[-1], before)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision(family, model_folder):
    folder = model_folder(family)
    exact = prediction(dimr.DiMRModel.from_pretrained(folder))[-1]
    half = dimr.DiMRModel.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert {t.dtype for t in half.state_dict().values()} == {torch.bfloat16}
    error = (prediction(half)[-1].float() - exact).norm() / exact.norm()
    assert error < 0.05


def test_bad_folders_are_one_line(model_folder):
    typo = model_folder("dimr", changes={"nrom": "rms"})
    with pytest.raises(DimrError, match=r"DiMRModel: nrom: unknown key \(did you mean norm") as e:
        dimr.DiMRModel.from_pretrained(typo)
    assert "\n" not in str(e.value)
    folder = model_folder("uvit")
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "output.bias"}, path)
    with pytest.raises(DimrError, match=r"another network \(missing_keys: output\.bias\)"):
        dimr.DiMRModel.from_pretrained(folder)
    save_file({**weights, "extra": torch.zeros(1)}, path)
    with pytest.raises(DimrError, match=r"another network \(unexpected_keys: extra\)"):
        dimr.DiMRModel.from_pretrained(folder)


def test_an_unknown_family():
    with pytest.raises(DimrError, match=r"DiMRModel: family: 'uvjt' \(did you mean uvit\?"):
        dimr.DiMRModel(family="uvjt", schedule="latent")


# --- AuthorsDPMSolver -----------------------------------------------------------------------------


def test_schedulers_take_each_others_place(pixel_pipe):
    """What makes the authors' solver what it is does not follow from another one's settings."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    ours = draw(pixel_pipe, num_inference_steps=40)
    stock = DPMSolverMultistepScheduler.from_config(pixel_pipe.scheduler.config, solver_order=2)
    assert torch.equal(stock.betas, pixel_pipe.scheduler.betas)
    pixel_pipe.scheduler = stock
    theirs = draw(pixel_pipe, num_inference_steps=40)
    assert 0 < (ours - theirs).norm() / ours.norm() < 0.05
    pixel_pipe.scheduler = DDIMScheduler.from_config(stock.config)
    assert 0 < (ours - draw(pixel_pipe, num_inference_steps=200)).norm() / ours.norm() < 0.1
    pixel_pipe.scheduler = dimr.AuthorsDPMSolver.from_config(stock.config)
    assert torch.equal(draw(pixel_pipe, num_inference_steps=40), ours)


# --- DiMRPipeline ---------------------------------------------------------------------------------


@pytest.fixture
def grey_pipe(make_network):
    return make_pipe(*make_network("dimr", 1))


@pytest.fixture
def latent_pipe(make_network, vae):
    return make_pipe(*make_network("dimr", 4), vae)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ({"kind": "none"}, {}),
        ({"kind": "constant", "scale": 0.5}, {"guidance_scale": 1.5}),
        (
            {"kind": "power_cosine", "scale": 3.0, "power": 2.0},
            {"guidance_scale": 3.0, "guidance_power": 2.0},
        ),
    ],
)
def test_images_are_those_of_the_workflow(family, channels, kind, asked, make_network, vae):
    network, config = make_network(family, channels)
    pipe = make_pipe(network, config, vae if channels == 4 else None)
    indices, ends = [1, 4, 6], []

    def decoder(x):
        ends.append(x)
        return decode(vae, x) if channels == 4 else to_uint8(x)

    sampling = sampling_of(seed=3, count=7, steps=8, guidance=kind)
    theirs = draw_all(network, config, sampling, indices=indices, decode=decoder)
    noise = noise_by_index(3, "sample", indices, (channels, 8, 8))
    asked = {"class_labels": [1, 4, 1], "num_inference_steps": 8, "latents": noise, **asked}
    assert torch.equal(pipe(output_type="latent", **asked).images, ends[0])
    ours = pipe(**asked).images
    assert [image.mode for image in ours] == ["RGB"] * 3
    assert np.array_equal(np.stack([np.asarray(image) for image in ours]), theirs)


@pytest.mark.parametrize("kind", ["pixel_pipe", "latent_pipe"])
def test_a_pipeline_is_saved_whole(kind, request, tmp_path):
    pipe = request.getfixturevalue(kind)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["model"][1] == "DiMRModel"
    assert index["scheduler"][1] == "AuthorsDPMSolver"
    assert index["vae"][1] == ("AutoencoderKL" if pipe.vae else None)
    again = quiet(dimr.DiMRPipeline.from_pretrained(tmp_path))
    assert isinstance(again.scheduler, dimr.AuthorsDPMSolver)
    assert again.scheduler.config.schedule == "latent"
    for output in ("latent", "np"):
        options = {"guidance_scale": 2.0, "num_inference_steps": 6, "output_type": output}
        ours, theirs = draw(pipe, **options), draw(again, **options)
        torch.testing.assert_close(torch.as_tensor(theirs), torch.as_tensor(ours))


def test_a_pipeline_knows_what_its_classes_are_called(model_folder, tmp_path):
    """As diffusers' DiTPipeline: id2label in model_index.json."""
    names = ["red circles", "caf\u00e9, small", "7", "blue", "4"]
    folder = model_folder("dimr", 3)
    assert quiet(dimr.DiMRPipeline.from_run(folder)).class_names == list("01234")
    write_class_names(folder, names)
    pipe = quiet(dimr.DiMRPipeline.from_run(folder))
    pipe.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved/model_index.json").read_text())
    assert index["id2label"] == {str(label): name for label, name in enumerate(names)}
    again = quiet(dimr.DiMRPipeline.from_pretrained(tmp_path / "saved"))
    for one in (pipe, again):
        assert one.class_names == names
        labels = ["RED circles", "cafe\u0301, small", "7", 3, "4", "1"]
        options = {"num_inference_steps": 3}
        assert torch.equal(draw(one, labels, **options), draw(pipe, [0, 1, 2, 3, 4, 1], **options))
    with pytest.raises(ValueError, match=r"no class 'red' \(names with it: 0 red circles"):
        draw(pipe, ["red"])


@pytest.mark.parametrize("labels", [{}, {0: "a"}, dict.fromkeys(range(6), "a"), {"a": "b"}])
def test_names_that_are_not_the_classes_are_refused(labels, make_network):
    network, config = make_network("dimr", 3)
    model = dimr.DiMRModel.from_network(network, config["schedule"])
    with pytest.raises(ValueError, match="id2label: should name the classes 0 to 4, each once"):
        dimr.DiMRPipeline(model, dimr.AuthorsDPMSolver("latent"), id2label=labels)


def test_a_pipeline_comes_from_the_hub(pixel_pipe, tmp_path, monkeypatch):
    pixel_pipe.save_pretrained(tmp_path)
    asked = []

    def fetch(name, **options):
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    again = quiet(dimr.DiMRPipeline.from_pretrained("someone/digits", revision="v1"))
    assert asked[0][0] == "someone/digits"
    assert asked[0][1]["revision"] == "v1"
    options = {"num_inference_steps": 3}
    torch.testing.assert_close(draw(again, **options), draw(pixel_pipe, **options))


@pytest.mark.parametrize(
    ("kind", "side"), [("latent_pipe", 16), ("pixel_pipe", 8), ("grey_pipe", 8)]
)
def test_outputs(kind, side, request):
    pipe = request.getfixturevalue(kind)
    options = {"num_inference_steps": 4}
    pil, array, tensor = (draw(pipe, output_type=o, **options) for o in ("pil", "np", "pt"))
    assert array.shape == (3, side, side, 3)
    assert array.dtype == np.float32
    assert tuple(tensor.shape) == (3, 3, side, side)
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert 0 <= array.min() < array.max() <= 1
    assert np.abs(np.stack([np.asarray(i) for i in pil]) - 255 * array).max() <= 0.51
    (images,) = pipe([1], num_inference_steps=4, return_dict=False)
    assert images[0].size == (side, side)


def test_guidance_is_as_diffusers_means_it(pixel_pipe):
    calls = []

    def watch(_model, args, _output):
        calls.append(args[2].labels)

    handle = pixel_pipe.model.register_forward_hook(watch)
    draw(pixel_pipe, num_inference_steps=4, guidance_scale=1.0)
    assert [y.tolist() for y in calls] == [[1, 2, 4]] * 4  # no second pass
    calls.clear()
    guided = draw(pixel_pipe, num_inference_steps=4, guidance_scale=4.0)
    assert calls[0].tolist() == [1, 2, 4, 5, 5, 5]
    handle.remove()

    def denoise(x, t):
        network, y = pixel_pipe.model, torch.tensor([1, 2, 4])
        cond, uncond = (network(x, t, labels)[-1] for labels in (y, torch.full_like(y, 5)))
        return uncond + 4.0 * (cond - uncond)

    noise = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guided, sample(denoise, noise, 4, schedule="latent"))


def test_without_a_class(pixel_pipe):
    generator = torch.Generator().manual_seed(0)
    ours = pixel_pipe(
        num_images=2, num_inference_steps=4, generator=generator, output_type="latent"
    ).images
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = pixel_pipe.model.network
    denoise = wrap(network, LabelCondition(torch.zeros(2, dtype=torch.long), 5), "unconditional")
    assert torch.equal(ours, sample(denoise, noise, 4, schedule="latent"))


def test_a_generator_for_each_image(pixel_pipe):
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    together = draw(pixel_pipe, [1, 2], generator=generators(5, 6), num_inference_steps=4)
    alone = draw(pixel_pipe, [2], generator=generators(6), num_inference_steps=4)
    torch.testing.assert_close(together[1:], alone)


def test_labels_by_number_and_name(pixel_pipe):
    ours = draw(pixel_pipe, [1, 3], num_inference_steps=3)
    for labels in (["1", "3"], [1, "3"], np.array([1, 3]), torch.tensor([1, 3])):
        assert torch.equal(draw(pixel_pipe, labels, num_inference_steps=3), ours)
    assert len(pixel_pipe("3", num_inference_steps=3).images) == 1
    assert len(pixel_pipe(3, num_inference_steps=3).images) == 1
    for wrong in ("three", 5, -1):
        for kind in (DimrError, ValueError):
            with pytest.raises(kind, match=rf"no class '?{wrong}'? \(allowed: 0 to 4\)"):
                pixel_pipe([0, wrong])


def test_the_progress_bar_counts_steps(pixel_pipe, capsys):
    pixel_pipe.set_progress_bar_config(desc="drawing")
    draw(pixel_pipe, num_inference_steps=5)
    shown = capsys.readouterr().err
    assert "drawing" in shown
    assert "5/5" in shown


def test_half_precision_keeps_the_solver_in_float32(pixel_pipe):
    exact = draw(pixel_pipe, num_inference_steps=6)
    half = draw(pixel_pipe.to(dtype=torch.bfloat16), num_inference_steps=6)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).norm() / exact.norm() < 0.1


def test_latents_need_an_autoencoder(make_network):
    pipe = make_pipe(*make_network("dimr", 4))
    with pytest.raises(ValueError, match="output_type must be 'latent'"):
        pipe([1])
    assert draw(pipe, num_inference_steps=3).shape == (3, 4, 8, 8)


def test_a_network_without_a_null_label():
    sizes = {"depth": 1, "dim": 8, "heads": 2, "patch": 4, "input_size": 8, "channels": 3}
    model = dimr.DiMRModel(
        family="uvit", schedule="pixel", num_classes=5, has_null_label=False, time_map="pixel",
        **sizes,
    )  # fmt: skip
    pipe = quiet(dimr.DiMRPipeline(model.eval(), dimr.AuthorsDPMSolver("pixel")))
    assert draw(pipe, num_inference_steps=3).shape == (3, 3, 8, 8)
    for options in ({"class_labels": [1], "guidance_scale": 2.0}, {"num_images": 1}):
        with pytest.raises(ValueError, match="knows no images without a class"):
            pipe(**options)


def test_from_run(model_folder, vae, tmp_path):
    folder = model_folder("dimr", 4, record={"key": "k", "config": {"dataset": "digits"}})
    with pytest.raises(DimrError, match=r"model: a model of latents: give its autoencoder") as e:
        dimr.DiMRPipeline.from_run(folder)
    assert "\n" not in str(e.value)
    vae.save_pretrained(tmp_path / "data/digits/autoencoder")
    found = quiet(dimr.DiMRPipeline.from_run(folder))
    given = quiet(dimr.DiMRPipeline.from_run(folder, vae=tmp_path / "data/digits/autoencoder"))
    assert found.scheduler.config.schedule == "latent"
    options = {"num_inference_steps": 3, "output_type": "np"}
    assert np.array_equal(draw(found, **options), draw(given, **options))
    pixels = model_folder("uvit", 3, record={"key": "k", "config": {"dataset": "digits"}})
    with pytest.raises(DimrError, match=r"latents of 4 channels; .* takes 3"):
        dimr.DiMRPipeline.from_run(pixels)


# --- DiT as its authors sampled it ----------------------------------------------------------------


def test_a_published_dit_has_its_own_sampler(make_network, model_folder, vae, tmp_path):
    """In the pipeline and at the shell: ancestral steps, three guided channels."""
    network, _ = make_network("dit", 4)
    folder = model_folder("dit", 4)
    vae.save_pretrained(tmp_path / "vae")
    pipe = quiet(dimr.DiMRPipeline.from_run(folder, vae=tmp_path / "vae"))
    assert isinstance(pipe.scheduler, dimr.AncestralSampler)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def seeds():
        return [torch.Generator().manual_seed(i) for i in range(2)]

    def drawn(channels):
        return draw(
            pipe, [1, 2], guidance_scale=1.5, guided_channels=channels, num_inference_steps=6,
            latents=noise, generator=seeds(),
        )  # fmt: skip

    denoise = wrap(network, LabelCondition(torch.tensor([1, 2]), 5), "constant", 0.5, channels=3)
    options = {"schedule": "linear", "solver": "ancestral"}
    expected = sample(denoise, noise, 6, generators=seeds(), **options)
    torch.testing.assert_close(drawn(None), expected, rtol=1e-3, atol=1e-2)
    assert not torch.allclose(drawn(4), expected, rtol=1e-3, atol=1e-2)
    restored = dimr.AncestralSampler.from_config(pipe.scheduler.config)
    assert torch.equal(restored.betas, pipe.scheduler.betas)
