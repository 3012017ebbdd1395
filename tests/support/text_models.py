"""Tiny text models in the formats of published ones."""

import json

import torch

CHARACTERS = "abcdefghijklmnopqrstuvwxyz"
END, START = "<|endoftext|>", "<|startoftext|>"


def write_clip(folder, tokens=77, width=16, seed=0):
    """CLIP's text model and its tokenizer, as the two files that published ones have."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = [*CHARACTERS, *(f"{letter}</w>" for letter in CHARACTERS)]
    merges = ["t w", "tw o</w>", "o n", "on e</w>"]
    words = [*letters, *("".join(pair.split()) for pair in merges), START, END]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    kind = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokens, "pad_token": END,
            "bos_token": START, "eos_token": END, "unk_token": END}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=tokens, projection_dim=width,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, pad_token_id=len(words) - 1,
    )  # fmt: skip
    return _saved(CLIPTextModel(config), folder)


def write_t5(folder, width=16, seed=0):
    """A T5 with decoder, and a tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import T5Config, T5ForConditionalGeneration

    words = ["<pad>", "</s>", "<unk>", "▁", "▁two", "▁one", *CHARACTERS]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>",
            "unk_token": "<unk>", "extra_ids": 0}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(words), d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return _saved(T5ForConditionalGeneration(config), folder)


def _saved(model, folder):
    with torch.no_grad():  # a fresh model's tokens hardly differ
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(folder)
    return model
