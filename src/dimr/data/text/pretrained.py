"""Published text models as encoders, through transformers: CLIP's text model, T5's encoder.

Tokens are ``last_hidden_state``. With ``padding: seen`` texts are filled up with the tokenizer's
padding, which the text model and the networks see as any other token: so U-ViT's authors use CLIP.
With ``hidden`` neither sees it.
"""

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimr.config.schema import PretrainedText
from dimr.data.text.base import Cut, TextEncoder
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line
from dimr.runtime.hub import reason
from dimr.runtime.tensors import first_unsound

MODELS = {"clip": "CLIPTextModel", "t5": "T5EncoderModel"}
"""The class in transformers by kind."""
TYPES = {"clip": ("clip_text_model", "clip"), "t5": ("t5",)}
"""What config.json may call such a model, or one that contains it."""
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt", "spiece.model",
)  # fmt: skip
"""Files of a repository that are downloaded, besides config.json."""


class PretrainedEncoder(TextEncoder):
    """A text model with its tokenizer.

    Args:
        description: of the encoder.
        model: of transformers.
        tokenizer: likewise.
    """

    def __init__(self, description: Mapping[str, Any], model: Any, tokenizer: Any) -> None:
        self.description = dict(description)
        self.width, self.tokens = description["width"], description["tokens"]
        self.model, self.tokenizer = model, tokenizer
        self._hides = description["padding"] == "hidden"

    def embed(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, list[Cut]]:
        """As in ``TextEncoder``; the empty caption is the tokens that mark a text's ends."""
        found = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.tokens,
            return_tensors="pt",
        )
        numbers = found["input_ids"].to(self.model.device)
        real = found["attention_mask"].to(self.model.device)
        if self._hides:
            tokens = self.model(input_ids=numbers, attention_mask=real).last_hidden_state
            mask = real.bool()
        else:
            tokens = self.model(input_ids=numbers).last_hidden_state
            mask = torch.ones_like(real, dtype=torch.bool)
        return tokens.float(), mask, self._cuts(texts)

    def _cuts(self, texts: Sequence[str]) -> list[Cut]:
        """The texts whose tokens, with those that mark the ends, are too many."""
        room = self.tokens - self.tokenizer.num_special_tokens_to_add()
        spans = self.tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        cuts = []
        for text, places in zip(texts, spans, strict=True):
            if len(places) > room:
                start, end = places[room]  # of the first token that is not seen, with its blank
                start += len(text[start:end]) - len(text[start:end].lstrip())
                before = text[:start].split()
                inside = bool(before) and not text[start - 1].isspace()
                number = len(before) + (not inside)
                cuts.append(Cut(text, text.split()[number - 1], number))
        return cuts


# --- loading --------------------------------------------------------------------------------------


def load_pretrained(
    folder: Path, description: Mapping[str, Any], device: Any = "cpu"
) -> PretrainedEncoder:
    """The encoder of a dataset's ``text_encoder`` folder, which ``save_pretrained`` wrote."""
    section = PretrainedText(**{key: description[key] for key in PretrainedText.model_fields})
    model, tokenizer = _load(section, folder, folder, str(folder))
    return PretrainedEncoder(description, model.to(device), tokenizer)


def fetch_pretrained(section: PretrainedText, device: Any = "cpu") -> PretrainedEncoder:
    """The encoder of a section, from the hub or from a folder.

    Raises:
        DimrError: one line: it cannot be had, is damaged, or does not fit the section; transformers
            is not installed.
    """
    require_transformers()
    repo, local = section.repo, Path(section.repo).is_dir()
    if local and section.revision is not None:
        raise DimrError(f"{repo}: is a folder: revision {section.revision!r} is for the hub")
    top = Path(repo) if local else _download(section)
    folder, tokenizer = _parts(top, section)
    model, words = _load(section, folder, tokenizer, repo)
    facts = {"revision": None if local else top.name, "sha256": weights_digest(model)}
    return PretrainedEncoder({**section.model_dump(mode="json"), **facts}, model.to(device), words)


def save_pretrained(encoder: PretrainedEncoder, out: Path) -> None:
    """Write model (float32 safetensors) and tokenizer as transformers has them."""
    with _quiet():
        encoder.model.save_pretrained(out, max_shard_size="1TB")  # one file
        encoder.tokenizer.save_pretrained(out)


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights by name, however files hold them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def require_transformers() -> None:
    """Refuse, in one line, if transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise DimrError(
            'text_encoder: needs transformers, which is not installed: pip install "dimr[text]"'
        )


def _load(
    section: PretrainedText, folder: Path, tokenizer_folder: Path, named: str
) -> tuple[Any, Any]:
    """Text model (float32, evaluation mode) and tokenizer; ``named`` is what messages call them."""
    require_transformers()
    import transformers  # slow to import, and an extra

    config = read_json(folder / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in TYPES[section.kind]:
        raise DimrError(
            f"{named}: config.json: model_type is {found!r}; text_encoder.kind is {section.kind}, "
            f"of {' or '.join(TYPES[section.kind])}"
        )
    try:
        with _quiet():
            model, info = getattr(transformers, MODELS[section.kind]).from_pretrained(
              folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
              local_files_only=True,
          )  # fmt: skip
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                tokenizer_folder, local_files_only=True
            )
    except Exception as error:  # transformers passes on errors of many libraries
        said = single_line(error).replace(str(folder), named)[:300]
        raise DimrError(
            f"{named}: not a loadable text model of kind {section.kind} ({said})"
        ) from None
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info[problem]:
            first = single_line(sorted(map(str, info[problem]))[0])
            raise DimrError(f"{named}: weights do not fit config.json ({problem}: {first})")
    if misfit := _misfit(section, model, tokenizer):
        raise DimrError(f"{named}: {misfit}")
    return model.eval().requires_grad_(False), tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' tables of weights that a part of a model does not take, and bars."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _misfit(section: PretrainedText, model: Any, tokenizer: Any) -> str | None:
    """Why model and tokenizer do not fit a section."""
    found = model.config.hidden_size
    if found != section.width:
        return f"its tokens have a width of {found}; text_encoder.width is {section.width}"
    most = getattr(model.config, "max_position_embeddings", section.tokens)
    if section.tokens > most:
        return f"it takes {most} tokens at most; text_encoder.tokens is {section.tokens}"
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        return "its tokenizer has no tokenizer.json, or no padding"
    if section.tokens <= (ends := tokenizer.num_special_tokens_to_add()):
        return f"text_encoder.tokens: {section.tokens} leaves no room beside {ends} for the ends"
    if len(tokenizer) > (known := model.get_input_embeddings().num_embeddings):
        return f"its tokenizer has {len(tokenizer)} tokens, the model {known}"
    return first_unsound(model.state_dict())


def _parts(top: Path, section: PretrainedText) -> tuple[Path, Path]:
    """Folder of the text model, and of its tokenizer: the same, or the one beside it.

    Repositories of pipelines have the tokenizer of ``text_encoder_2`` in ``tokenizer_2``.
    """
    folder = top / (section.subfolder or "")
    beside = top / _tokenizer_beside(section)
    own = any((folder / name).is_file() for name in TOKENIZER)
    return folder, folder if own else beside


def _tokenizer_beside(section: PretrainedText) -> str:
    return (section.subfolder or "").replace("text_encoder", "tokenizer")


def _download(section: PretrainedText) -> Path:
    """The hub's folder in its client's cache, named by the commit."""
    import huggingface_hub

    repo = section.repo
    if Path(repo).is_absolute() or repo.count("/") != 1 or repo.startswith("."):
        raise DimrError(f"{repo}: no such folder, and not a hub name (owner/name)")
    names = ("config.json", *WEIGHTS, *TOKENIZER)
    folders = dict.fromkeys(filter(None, (section.subfolder, _tokenizer_beside(section))))
    patterns = [f"{folder}/{name}" for folder in folders for name in names] or list(names)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=section.revision, allow_patterns=patterns, repo_type="model"
            )
        )
    except Exception as error:  # the client's errors, and those of the network libraries below it
        raise DimrError(
            f"hub: {repo}: {reason(error)}; or download it by hand, and name its folder in "
            "recipes.yaml (text_encoder.repo)"
        ) from None
