"""Convert a synthetic checkpoint of the released size; report time and peak memory as JSON.

The transformer and the autoencoder have the released sizes. The text encoders have the released widths but few layers,
which are all alike, to spare the disk: --text-layers 32 makes them whole. Linux only (peak memory is read from /proc).

    python benchmarks/convert_full_size.py --scale 0.05 --folder /tmp
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from gamecraft.checkpoints import convert_transformer_to_official
from gamecraft.conversion.component import Component
from gamecraft.conversion.folder import run_plan
from gamecraft.conversion.from_official import plan_from_official
from gamecraft.conversion.layout import CLIP_FOLDER, LLAVA_FOLDER, TRANSFORMER_FILES, VAE_FOLDER
from gamecraft.conversion.plan import Options
from gamecraft.conversion.shards import write_safetensors
from gamecraft.conversion.sources import open_weights
from gamecraft.conversion.text import llava_config, published_text_config
from gamecraft.conversion.transformer import open_official_transformer, transformer_steps_to_official
from gamecraft.conversion.vae import convert_vae_config_to_official, names_to_official
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.torch_files import write_torch_file

FULL_DUAL, FULL_SINGLE = 20, 40


def main() -> None:
    """Write, convert and check, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the released transformer's blocks")
    parser.add_argument("--text-layers", type=int, default=1, help="layers of the language model (released: 32)")
    parser.add_argument("--folder", type=Path, help="where to write about twice the checkpoint; default: temporary")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        published, converted = Path(folder) / "published", Path(folder) / "converted"
        works: dict[str, tuple[Callable[..., object], *tuple[object, ...]]] = {
            "imports": (time.sleep, 0),
            "write": (write_published, published, args.scale, args.text_layers),
            "convert": (convert, published, converted),
            "check": (check, published, converted),
        }
        phases = {}
        for name, (function, *arguments) in works.items():
            took = phases[name] = in_fresh_process(function, *arguments)
            print(f"{name}: {took['seconds']:.0f} s, {took['peak_bytes'] / 1e9:.2f} GB", file=sys.stderr)
        report = {
            "scale": args.scale,
            "text_layers": args.text_layers,
            "published_bytes": size(published),
            "converted_bytes": size(converted),
            "free_bytes_left": shutil.disk_usage(folder).free,
            **phases,
        }
    print(json.dumps(report, indent=2))


def in_fresh_process(function: Callable[..., object], *arguments: object) -> dict[str, float]:
    """Seconds and peak memory (bytes, mapped files included) of a call in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, function, *arguments).result()


def measure(function: Callable[..., object], *arguments: object) -> dict[str, float]:
    """Run a function; seconds and the peak memory of this process so far."""
    started = time.perf_counter()
    function(*arguments)
    seconds = time.perf_counter() - started
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return {"seconds": seconds, "peak_bytes": int(peak[1]) * 1024}


def write_published(folder: Path, scale: float, text_layers: int) -> None:
    """A weights folder in the published layout with random numbers, one tensor in memory at a time."""
    with torch.device("meta"):
        model = GameCraftTransformer3DModel(
            num_layers=max(1, round(FULL_DUAL * scale)), num_single_layers=max(1, round(FULL_SINGLE * scale))
        )
        vae = AutoencoderKLHunyuanVideo()
        llava = LlamaModel(LlamaConfig(vocab_size=1000, intermediate_size=14336, num_hidden_layers=text_layers))
        clip = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_attention_heads=12, num_hidden_layers=1))
    tensors = convert_transformer_to_official(model.config, model.state_dict())
    tensors = {name: t if name.startswith("camera_net") else t.bfloat16() for name, t in tensors.items()}
    write_torch(folder / TRANSFORMER_FILES["standard"], "module", tensors)
    names = names_to_official(vae.config, vae.state_dict())
    tensors = {new: vae.state_dict()[old].half() for old, new in names.items()}
    write_torch(folder / VAE_FOLDER / "pytorch_model.pt", "state_dict", tensors)
    write_json(folder / VAE_FOLDER / "config.json", convert_vae_config_to_official(vae.config))
    for part, text, prefix in ((LLAVA_FOLDER, llava, "language_model.model."), (CLIP_FOLDER, clip, "text_model.")):
        metas = {prefix + name: tensor for name, tensor in text.half().state_dict().items()}
        write_safetensors(folder / part / "model.safetensors", metas, random(metas))
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())).save_pretrained(folder / part)
    write_json(folder / CLIP_FOLDER / "config.json", published_text_config(clip.config))
    llava_settings = llava_config(published_text_config(llava.config), folder / LLAVA_FOLDER)
    write_json(folder / LLAVA_FOLDER / "config.json", llava_settings)


def write_torch(path: Path, entry: str, metas: dict[str, Tensor]) -> None:
    """A ``.pt`` file of random tensors under an entry."""
    write_torch_file(
        path, metas, random(metas), nest=lambda tensors: {entry: tensors}, unnest=lambda content: content[entry]
    )


def random(metas: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Random tensors, made one at a time out of a block of numbers that is read again and again.

    Drawing them all would take longer than converting them. The block's length is a prime, so that it never fits rows
    or tensors: tensors or halves that change places are seen.
    """
    block = torch.empty(16_777_259).uniform_(-0.02, 0.02)
    blocks: dict[torch.dtype, Tensor] = {}
    position = 0
    for name, meta in metas.items():
        if meta.dtype not in blocks:
            blocks[meta.dtype] = block.to(meta.dtype)
        source = blocks[meta.dtype]
        tensor = torch.empty_like(meta, device="cpu")
        flat, filled = tensor.view(-1), 0
        while filled < len(flat):
            taken = min(len(flat) - filled, len(source) - position)
            flat[filled : filled + taken] = source[position : position + taken]
            filled, position = filled + taken, (position + taken) % len(source)
        yield name, tensor


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A JSON file."""
    path.write_text(json.dumps(content))


def convert(published: Path, converted: Path) -> None:
    """What ``gamecraft convert`` does, without its progress bar."""
    options = Options()
    run_plan(plan_from_official(published, converted, options), converted, options)


def check(published: Path, converted: Path) -> None:
    """Put every published tensor together again from the converted shards and compare it bit for bit."""
    expected = open_official_transformer(published / TRANSFORMER_FILES["standard"], "module")
    found = open_weights(converted / "transformer", "diffusion_pytorch_model")
    config = json.loads((converted / "transformer" / "config.json").read_text())
    steps = transformer_steps_to_official(config, found)
    for name, tensor in Component(source=found, steps=steps).tensors(steps):
        if not torch.equal(tensor, expected.read(name)):
            raise SystemExit(f"{name} is not the same after conversion")


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
