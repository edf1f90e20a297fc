"""The published text encoders <-> the two text models of the pipeline.

Of LLaVA only the language model is used, of CLIP only the text model; what else the published folders hold is named
here and left out. Tokenizers are copied as they are.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPTextModel,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from gamecraft.checkpoints import check_tensors, tensor_shapes, without_memory
from gamecraft.conversion.sources import read_settings
from gamecraft.errors import CheckpointError

__all__ = [
    "CLIP",
    "LLAVA",
    "TextTower",
    "copy_tokenizer",
    "llava_config",
    "load_tokenizer",
    "published_text_config",
    "tokenizer_class",
]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
IMAGE_TOKEN = "<image>"  # part of every published prompt


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """Where a text model lies in a published checkpoint.

    Args:
        model_class: class of the text model alone.
        model_type: what the configuration of the text model alone must say.
        prefixes: beginnings of its tensor names in the published file, by version of transformers; the first is
            what the published code expects.
        prefix: the beginning of its tensor names in a file of `model_class`.
        unused: tensors of the published file that are no part of it.
    """

    model_class: type[LlamaModel | CLIPTextModel]
    model_type: str
    prefixes: tuple[str, ...]
    prefix: str
    unused: re.Pattern[str]

    def read_config(self, folder: Path) -> PreTrainedConfig:
        """The configuration of the text model in a folder, published or of the text model alone.

        Raises:
            CheckpointError: it cannot be read, or is that of another model.
        """
        read_settings(folder / "config.json")
        try:
            config = AutoConfig.from_pretrained(folder)
        except Exception as error:  # transformers raises many types for settings of the wrong kind
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{folder}: no readable config.json of a text encoder ({reason})") from error
        config = getattr(config, "text_config", config)
        if config.model_type != self.model_type:
            raise CheckpointError(f"{folder}: expected a text model of type {self.model_type}, got {config.model_type}")
        return config

    def names_from_official(self, config: PreTrainedConfig, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Published name -> name in a file of the text model alone, without what is unused.

        Raises:
            CheckpointError: a tensor is missing, unexpected or of a shape that does not fit the configuration.
        """
        names = {name: self._rename(name) for name in tensors if not self.unused.search(name)}
        check_tensors({new: tensors[old] for old, new in names.items()}, self._shapes(config), "published text model")
        return names

    def names_to_official(self, config: PreTrainedConfig, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """The inverse of `names_from_official`."""
        check_tensors(tensors, self._shapes(config), "text model")
        return {name: self.prefixes[0] + name.removeprefix(self.prefix) for name in tensors}

    def _rename(self, name: str) -> str:
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return self.prefix + name.removeprefix(prefix)
        return name

    def _shapes(self, config: PreTrainedConfig) -> dict[str, torch.Size]:
        model = without_memory(lambda: self.model_class(config), self.model_class.__name__)
        return {self.prefix + name: shape for name, shape in tensor_shapes(model).items()}


LLAVA = TextTower(
    model_class=LlamaModel,
    model_type="llama",
    prefixes=("language_model.model.", "model.language_model."),
    prefix="",
    unused=re.compile(
        r"^(model\.)?(vision_tower|multi_modal_projector)\.|^(language_model\.)?lm_head\.|\.rotary_emb\.inv_freq$"
    ),
)
CLIP = TextTower(
    model_class=CLIPTextModel,
    model_type="clip_text_model",
    prefixes=("text_model.",),
    prefix="text_model.",
    unused=re.compile(r"^(vision_model|visual_projection|text_projection)\.|^logit_scale$|\.position_ids$"),
)


def copy_tokenizer(source: Path, dest: Path) -> None:
    """Copy the files of a tokenizer.

    Raises:
        CheckpointError: there are none in the source.
    """
    found = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not any(file.name in ("tokenizer.json", "tokenizer.model", "vocab.json") for file in found):
        raise CheckpointError(f"{source}: no tokenizer; expected at least tokenizer.json, or vocab.json and merges.txt")
    dest.mkdir(parents=True, exist_ok=True)
    for file in found:
        shutil.copyfile(file, dest / file.name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        CheckpointError: it cannot be read.
    """
    return _read_tokenizer(folder, folder)


def tokenizer_class(folder: Path) -> str:
    """Name of the class that loads the tokenizer in a folder, once it is copied away from the model beside it.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    with TemporaryDirectory() as copy:
        copy_tokenizer(folder, Path(copy))
        return type(_read_tokenizer(Path(copy), folder)).__name__


def _read_tokenizer(place: Path, folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many types for damaged files
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder}: its tokenizer cannot be read ({reason})") from error
    return tokenizer


def published_text_config(config: PreTrainedConfig) -> dict[str, Any]:
    """A ``config.json`` that the transformers of the published code (4.54) and the installed one read alike."""
    content: dict[str, Any] = json.loads(config.to_json_string())
    content.pop("_name_or_path", None)
    content["torch_dtype"] = content.get("dtype")
    rope = content.get("rope_parameters") or {}
    if "rope_theta" in rope:
        content["rope_theta"] = rope["rope_theta"]
    return content


def llava_config(text_config: dict[str, Any], tokenizer: Path) -> dict[str, Any]:
    """A LLaVA ``config.json`` around the language model; vision settings are the defaults of transformers.

    Args:
        text_config: of the language model.
        tokenizer: folder of its tokenizer, which knows the number of the image token.
    """
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": text_config,
        "torch_dtype": text_config["torch_dtype"],
    }
    tokens = AutoTokenizer.from_pretrained(tokenizer).get_vocab()
    if IMAGE_TOKEN in tokens:
        config["image_token_index"] = tokens[IMAGE_TOKEN]
    return config
