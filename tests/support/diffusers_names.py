"""DiT's weights as diffusers stores them, written by hand."""

PLAIN = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
BLOCK = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
EMBEDDERS = {
    "t_embedder.mlp.0": "timestep_embedder.linear_1",
    "t_embedder.mlp.2": "timestep_embedder.linear_2",
    "y_embedder.embedding_table": "class_embedder.embedding_table",
}


def as_diffusers(weights, depth):
    """DiT's weights under diffusers' names: an embedder in every block, q, k and v separate."""
    names = dict(PLAIN)
    for i in range(depth):
        block = f"transformer_blocks.{i}"
        names |= {f"blocks.{i}.{ours}": f"{block}.{theirs}" for ours, theirs in BLOCK.items()}
    found = {}
    for kind in ("weight", "bias"):
        found |= {f"{new}.{kind}": weights[f"{old}.{kind}"].clone() for old, new in names.items()}
        for i in range(depth):
            block = f"transformer_blocks.{i}"
            parts = weights[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)
            for part, tensor in zip("qkv", parts, strict=True):
                found[f"{block}.attn1.to_{part}.{kind}"] = tensor.clone()
            for old, new in EMBEDDERS.items():
                if f"{old}.{kind}" in weights:  # a table has no bias
                    found[f"{block}.norm1.emb.{new}.{kind}"] = weights[f"{old}.{kind}"].clone()
    return found
