"""Fine-tuning of a converted published checkpoint: the same command, the whole model or low-rank layers beside it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gamecraft.cli import main
from gamecraft.dataset import ClipWriter
from gamecraft.errors import InputError
from gamecraft.loading import load_pipeline
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.runtime import Runtime
from gamecraft.training.lora import LoraSettings, add_lora
from gamecraft.training.run import RunFolder
from gamecraft.training.transformer import TransformerTraining
from gamecraft.training.transformer_evaluation import load_autoencoder
from published_folder import ROPE_AXES, write_published_folder
from training_cases import clip_records
from transformer_cases import tiny_inputs, tiny_model

FILE = "pytorch_lora_weights.safetensors"
RECIPE = """
task: transformer
run: {run}
data: {data}
held_out: {data}
latents: published
text: {model}
autoencoder: {model}/vae
init_from: {model}/transformer
max_steps: 3
batch_size: 2
muon_lr: null
adamw_lr: 0.01
history_mix: {{clip: 0.5, clips: 0.0, image: 0.5}}
compile: false
log_every: 1
checkpoint_minutes: 0
gradient_checkpointing: true
evaluation: {{sigmas: [0.5], samples: 1, sheet_rows: 1, steps: 1}}
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny published weights as a model folder, and clips of 27 frames encoded with its autoencoder."""
    folder = tmp_path_factory.mktemp("published")
    published = write_published_folder(folder / "weights")
    assert (
        main(
            [
                "convert",
                str(published),
                str(folder / "model"),
                "--variant",
                "standard",
                "--rope-axes",
                *map(str, ROPE_AXES),
            ]
        )
        == 0
    )
    ClipWriter(folder / "data", fps=25, height=32, width=48).write(0, clip_records(2, 27))
    vae = str(folder / "model" / "vae")
    data = str(folder / "data")
    assert main(["encode", data, "--autoencoder", vae, "--name", "published", "--chunk-frames", "9"]) == 0
    return folder


def train(converted: Path, run: Path, *settings: str) -> None:
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(RECIPE.format(run=run, data=converted / "data", model=converted / "model"))
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["train", "--config", str(recipe), *words]) == 0


def test_low_rank_layers_are_learned_beside_a_published_model(converted: Path, tmp_path: Path) -> None:
    train(converted, tmp_path / "run", "lora.rank=4")
    base = GameCraftPipeline.from_pretrained(converted / "model")
    before = {name: tensor.clone() for name, tensor in base.transformer.state_dict().items()}
    file = tmp_path / "run" / "lora" / FILE
    layers = load_file(file)
    assert all(name.startswith("transformer.") and ".lora_" in name for name in layers)
    assert all(min(tensor.shape) == 4 for tensor in layers.values())
    assert any(bool(tensor.abs().max() > 0) for name, tensor in layers.items() if ".lora_B" in name)

    base.load_lora_weights(tmp_path / "run" / "lora")
    assert base.transformer.peft_config["default_0"].r == 4
    base.fuse_lora()
    base.unload_lora_weights()
    merged = load_pipeline(converted / "model", runtime=Runtime(device="cpu", dtype="fp32", lora=(str(file),)))
    changed = 0
    for name, tensor in base.transformer.state_dict().items():
        torch.testing.assert_close(merged.transformer.state_dict()[name], tensor)
        changed += not torch.equal(tensor, before[name])
    assert changed == len(layers) / 2


def test_a_whole_published_model_is_fine_tuned(converted: Path, tmp_path: Path) -> None:
    train(converted, tmp_path / "run")
    tuned = GameCraftTransformer3DModel.from_pretrained(tmp_path / "run" / "transformer")
    base = GameCraftTransformer3DModel.from_pretrained(converted / "model" / "transformer")
    assert dict(tuned.config)["rope_axes_dim"] == dict(base.config)["rope_axes_dim"]
    moved = [not torch.equal(value, base.state_dict()[name]) for name, value in tuned.state_dict().items()]
    assert sum(moved) > 0.9 * len(moved)


def test_an_interrupted_fine_tuning_gives_the_same_layers(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(converted, tmp_path / "whole", "lora.rank=2")
    log = RunFolder.log

    def killed(run: RunFolder, record: dict[str, float]) -> None:
        if record["step"] == 3:
            raise MemoryError
        log(run, record)

    monkeypatch.setattr(RunFolder, "log", killed)
    with pytest.raises(MemoryError):
        train(converted, tmp_path / "parts", "lora.rank=2")
    monkeypatch.setattr(RunFolder, "log", log)
    state = RunFolder(tmp_path / "parts").load_checkpoint()
    assert state is not None
    assert state["step"] == 2
    assert all(".lora_" in name for name in state["transformer"])
    train(converted, tmp_path / "parts", "lora.rank=2")
    one, other = (load_file(tmp_path / run / "lora" / FILE) for run in ("whole", "parts"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_layers_change_nothing_before_they_are_trained() -> None:
    plain, wrapped = tiny_model(), tiny_model()
    add_lora(wrapped, LoraSettings(rank=2), seed=0)
    assert torch.equal(plain(**tiny_inputs(plain)).sample, wrapped(**tiny_inputs(plain)).sample)
    trained = [name for name, weight in wrapped.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_low_rank_layers_need_a_model(training: TransformerTraining) -> None:
    with pytest.raises(InputError, match="init_from"):
        replace(training, lora=LoraSettings())
    with pytest.raises(InputError, match="rank"):
        LoraSettings(rank=0)


def test_clips_are_encoded_as_the_pipeline_encodes_them(converted: Path) -> None:
    """The autoencoder of diffusers cuts clips into pieces of 12 frames by default."""
    frames = torch.randn(1, 3, 17, 32, 48, generator=torch.Generator().manual_seed(0))
    codes = []
    for vae in (load_autoencoder(converted / "model" / "vae"), load_pipeline(converted / "model").vae):
        with torch.no_grad():
            codes.append(vae.encode(frames).latent_dist.mode())
    assert torch.equal(*codes)
