"""What cannot fit into memory is refused before it is loaded, with both figures."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gamecraft.cli import main
from gamecraft.errors import InputError
from gamecraft.loading import load_pipeline
from gamecraft.memory import check_main_memory, check_model_memory
from gamecraft.model_folder import weight_sizes
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.runtime import Runtime
from published_folder import published_transformer

NUMBERS = {"transformer": 12_800_000_000, "text_encoder": 7_500_000_000, "vae": 250_000_000}
BF16 = torch.bfloat16


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Bytes that are free, in main memory and on the GPU."""
    room = SimpleNamespace(main=0.0, gpu=0.0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=room.main))
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(free=0.0))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (room.gpu, room.gpu))
    return room


def test_both_figures_are_said(free: SimpleNamespace) -> None:
    free.main = 3e9
    check_main_memory(3e9, "it")
    with pytest.raises(InputError, match=r"it needs 3\.1 GB of main memory, but 3\.0 GB are free"):
        check_main_memory(3.1e9, "it")


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({}, 41.1),
        ({"weights": "fp8"}, 28.3),
        ({"offload": "model"}, 25.6),
        ({"offload": "model", "weights": "fp8"}, 15.0),  # then the text model is the largest
    ],
    ids=str,
)
def test_a_gpu_must_hold_what_is_not_offloaded(free: SimpleNamespace, options: dict[str, str], needed: float) -> None:
    gpu, runtime = torch.device("cuda"), Runtime(**options)
    free.gpu = needed * 1e9
    check_model_memory(NUMBERS, runtime, gpu, BF16)
    free.gpu -= 1e8
    with pytest.raises(InputError, match=f"the weights need {needed} GB of cuda, .* try --runtime low-vram"):
        check_model_memory(NUMBERS, runtime, gpu, BF16)
    check_model_memory(NUMBERS, Runtime.preset("low-vram"), gpu, BF16)


def test_numbers_are_counted_in_the_files(model_folder: Path) -> None:
    pipe = load_pipeline(model_folder)
    for part in ("transformer", "vae"):
        sizes = {name: tensor.numel() for name, tensor in getattr(pipe, part).state_dict().items()}
        assert weight_sizes(model_folder / part) == sizes


def test_a_folder_that_is_too_large_is_one_line(
    model_folder: Path, free: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "--model", str(model_folder), "--image", "village", "--actions", "w 1s"]
    assert main([*words, "--output", str(tmp_path / "a.mp4")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the model needs" in line
    assert not list(tmp_path.iterdir())


def test_a_published_file_that_must_change_type_is_too_large(free: SimpleNamespace, tmp_path: Path) -> None:
    torch.save({"module": published_transformer()}, tmp_path / "a_model_states.pt")
    axes = (4, 6, 6)
    GameCraftTransformer3DModel.from_single_file(tmp_path, rope_axes_dim=axes)  # stays mapped
    with pytest.raises(InputError, match=r"the transformer as torch\.bfloat16 needs"):
        GameCraftTransformer3DModel.from_single_file(tmp_path, rope_axes_dim=axes, dtype=BF16)
