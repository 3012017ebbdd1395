"""What decides images is told apart; where it lies and how it is called is not."""

import copy

import torch

from dimr.config.variants import check_network
from dimr.data.autoencoder import Decoder
from dimr.sampling.fingerprint import weights_fingerprint, work_key

ENGINE = {"compile": False, "precision": "float32"}


def sizes_of(config):
    return check_network(config, "test")


def test_every_tensor_counts(make_network):
    network, _ = make_network("uvit")
    before = weights_fingerprint(network)
    assert before == weights_fingerprint(copy.deepcopy(network))
    for tensor in network.state_dict().values():
        first = tensor.reshape(-1)[0].item()
        with torch.no_grad():
            tensor.view(-1)[0] += 1
            assert weights_fingerprint(network) != before
            tensor.view(-1)[0] = first
    assert weights_fingerprint(network) == before
    assert weights_fingerprint(copy.deepcopy(network).bfloat16()) != before


def test_tensors_without_dimensions_and_strided_ones():
    module = torch.nn.Module()
    module.register_buffer("scalar", torch.tensor(2))
    module.register_buffer("strided", torch.arange(6.0).view(2, 3).T)
    first = weights_fingerprint(module)
    module.strided = module.strided.contiguous()
    assert weights_fingerprint(module) == first
    module.strided = torch.arange(6.0).view(3, 2)
    assert weights_fingerprint(module) != first


def test_the_key_of_the_work(make_network, vae):
    network, config = make_network("uvit", 4)
    sizes = sizes_of(config)
    vae = copy.deepcopy(vae)
    keys = [
        work_key("k", network, sizes, Decoder(vae), "code", ENGINE),
        work_key("other", network, sizes, Decoder(vae), "code", ENGINE),
        work_key("k", network, sizes, Decoder(vae), "other code", ENGINE),
        work_key("k", network, sizes, Decoder(), "code", ENGINE),
        work_key("k", network, sizes.model_copy(update={"heads": 4}), Decoder(vae), "code", ENGINE),
        work_key("k", network, sizes, Decoder(vae), "code", {**ENGINE, "compile": True}),
        work_key("k", network, sizes, Decoder(vae), "code", {**ENGINE, "precision": "bfloat16"}),
    ]
    other = copy.deepcopy(vae)
    other.decoder.conv_out.bias.data[0] += 1
    keys.append(work_key("k", network, sizes, Decoder(other), "code", ENGINE))
    vae.register_to_config(scaling_factor=0.25)
    keys.append(work_key("k", network, sizes, Decoder(vae), "code", ENGINE))
    assert len(set(keys)) == len(keys)
    vae.register_to_config(scaling_factor=0.5)
    vae.register_to_config(_name_or_path="somewhere/else")
    assert work_key("k", network, sizes, Decoder(vae), "code", ENGINE) == keys[0]
