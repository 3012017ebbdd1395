"""What ``DiMRPipeline`` refuses: one ``ValueError`` of one line for each mistake."""

import itertools

import numpy as np
import pytest
import torch

from .conftest import draw


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_labels": None}, "give class_labels, or num_images"),
        ({"class_labels": []}, "no images"),
        ({"latents": torch.zeros(1, 3, 8, 8)}, r"latents of shape \(1, 3, 8, 8\), not \(2, 3"),
        ({"generator": [torch.Generator()]}, "1 generators for 2 images"),
        ({"output_type": "jpg"}, "'jpg' is none of pil, np, pt, latent"),
        *(
            (
                {"num_inference_steps": wrong},
                "num_inference_steps: .* is not allowed; use 3 to 1000",
            )
            for wrong in (0, -1, 2, 1001, 10.0, 3.5, True, "50", None, np.nan, 10**30, [50])
        ),
        ({"num_images": 2}, "num_images is for images without a class"),
        *(
            ({"class_labels": None, "num_images": wrong}, "num_images: .* is not allowed; use 1 to")
            for wrong in (0, -2, 1.0, True, "2", [2], 10**12)
        ),
        *(
            ({"class_labels": wrong}, message)
            for wrong, message in (
                (3.5, "class_labels: 3.5 is no class"),
                (True, "class_labels: True is no class"),
                ([1, None], "class_labels: None is no class"),
                ([1, 2.0], "class_labels: 2.0 is no class"),
                ([np.float32(1)], "class_labels: 1.0 is no class"),
                (np.array([1.0]), "class_labels: 1.0 is no class"),
                (np.array([True]), "class_labels: True is no class"),
                (torch.tensor([0.5]), "class_labels: 0.5 is no class"),
                ([[1, 2]], r"class_labels: \[1, 2\] is no class"),
                (b"\1", r"class_labels: b'\\x01' is no class"),
                (object, "class_labels: <class 'object'> is no class"),
                (-1, "no class -1"),
                (5, "no class 5"),
                (10**4000, "no class a number of many digits"),
                (itertools.repeat(1), "class_labels: more than 65536 images"),
            )
        ),
        *(
            ({name: wrong}, f"{name}: .* is not allowed; use a number from 0 to 1e\\+06")
            for name in ("guidance_scale", "guidance_power")
            for wrong in (np.nan, np.inf, -np.inf, -1.0, "2", True, [2.0], 10**400)
        ),
        ({"guidance_scale": None}, "guidance_scale: None is not allowed"),
        (
            {"guidance_scale": 2.0, "guidance_power": 0.0},
            "guidance_power 0.0 with .* powers above 0",
        ),
        ({"guidance_scale": 0.9, "guidance_power": 1.0}, "scale 0.9: allowed are .* scales from 1"),
        ({"class_labels": None, "num_images": 1, "guidance_scale": 2.0}, "there is no guidance"),
        ({"class_labels": None, "num_images": 1, "guidance_power": 2.0}, "there is no guidance"),
        *(
            ({"guided_channels": wrong}, "guided_channels: .* is not allowed; use 1 to 3")
            for wrong in (0, 4, -1, 2.0, True, "1")
        ),
        *(
            ({"generator": wrong}, "generator: a torch.Generator, or a list of one for each image")
            for wrong in (0, [0, 1], (torch.Generator(),), [torch.Generator(), None])
        ),
        ({"latents": np.zeros((2, 3, 8, 8))}, "latents of float64: a tensor of floats is expected"),
        ({"latents": torch.zeros(2, 3, 8, 8, dtype=int)}, "latents of torch.int64: a tensor of"),
        ({"latents": torch.zeros(2, 3, 8, 8, device="meta")}, "latents without values"),
        ({"latents": torch.zeros(2, 3, 8, 8).to_sparse()}, "latents without values"),
        (
            {"latents": torch.full((2, 3, 8, 8), torch.inf)},
            "latents hold values that are not finite",
        ),
        (
            {"latents": torch.full((2, 3, 8, 8), torch.nan)},
            "latents hold values that are not finite",
        ),
    ],
)
def test_arguments_that_do_not_fit(options, message, pixel_pipe):
    with pytest.raises(ValueError, match=message) as caught:
        pixel_pipe(**{"class_labels": [1, 2], **options})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_schedulers_of_something_else_are_refused(pixel_pipe):
    """diffusers would take the noise for a velocity, or use another schedule, and continue."""
    from diffusers import DDIMScheduler

    from dimr.diffusion.solver import AuthorsDPMSolver

    config = pixel_pipe.scheduler.config
    for scheduler, message in (
        (DDIMScheduler.from_config(config, prediction_type="v_prediction"), "'v_prediction'"),
        (DDIMScheduler.from_config(config, prediction_type="sample"), "'sample'"),
        (AuthorsDPMSolver("pixel"), "of schedule 'pixel'; the network's is 'latent'"),
        (None, "None is none of diffusers"),
    ):
        pixel_pipe.scheduler = scheduler
        with pytest.raises(ValueError, match=f"scheduler: .*{message}"):
            draw(pixel_pipe, num_inference_steps=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_latents_of_less_precision_are_solved_in_float32(pixel_pipe, dtype):
    noise = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    images = draw(pixel_pipe, latents=noise, num_inference_steps=3)
    assert torch.equal(images, draw(pixel_pipe, latents=noise.float(), num_inference_steps=3))


@pytest.mark.parametrize("output_type", ["pil", "np", "latent"])
def test_images_that_are_not_finite_are_refused(pixel_pipe, output_type):
    """As a picture NaN would be black."""
    noise = torch.full((3, 3, 8, 8), 1e30)
    with pytest.raises(ValueError, match="the solver ends with NaN or infinity"):
        draw(pixel_pipe, latents=noise, num_inference_steps=3, output_type=output_type)


def test_arguments_at_their_limits(pixel_pipe):
    from diffusers import DDIMScheduler

    ours = draw(pixel_pipe, num_inference_steps=3, guidance_scale=2.0)
    for options in (
        {
            "labels": torch.tensor([1, 2, 4]),
            "num_inference_steps": np.int64(3),
            "guidance_scale": 2,
        },
        {"labels": np.array([1, 2, 4], np.uint8), "num_inference_steps": 3, "guided_channels": 3},
        {"num_inference_steps": 3, "guidance_scale": torch.tensor(2.0)},
        {"num_inference_steps": 3, "guidance_scale": np.array(2.0)},
    ):
        assert torch.equal(draw(pixel_pipe, **{"guidance_scale": np.float64(2.0), **options}), ours)
    for label in (torch.tensor(1), np.array(1), np.uint8(1)):
        images = pixel_pipe(label, num_inference_steps=3, output_type="latent").images
        assert images.shape == (1, 3, 8, 8)
    pixel_pipe.scheduler = DDIMScheduler.from_config(pixel_pipe.scheduler.config)
    assert draw(pixel_pipe, num_inference_steps=1).shape == (3, 3, 8, 8)  # not of third order
    with pytest.raises(ValueError, match="num_inference_steps: 0 is not allowed; use 1 to 1000"):
        draw(pixel_pipe, num_inference_steps=0)
