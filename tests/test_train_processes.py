"""Two processes learn what one does, and a run that lost one of them goes on: real ranks over gloo on the CPU."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gamecraft.errors import InputError
from gamecraft.training.run import RunFolder
from gamecraft.training.transformer import TransformerTraining, train_transformer
from ranks import in_ranks
from training_worker import die, same, terminate, train_and_end, train_many

# Sums of floats in another order; Muon makes an update of full size out of a gradient of any size.
TOLERANCE = 2e-4


@pytest.fixture
def config(training: TransformerTraining) -> TransformerTraining:
    return replace(training, max_steps=3, precision="fp32", log_every=1, muon_lr=1e-3)


def test_two_ranks_learn_what_one_does(config: TransformerTraining, tmp_path: Path) -> None:
    """Two ranks draw the batches that one draws with two accumulated micro-steps."""
    alone = train_transformer(replace(config, run=f"{config.run}-alone", accumulation=2)).state_dict()
    shared = train_transformer(replace(config, run=f"{config.run}-batch")).state_dict()
    runs = [
        replace(config, run=f"{config.run}-data"),
        replace(config, run=f"{config.run}-shard", shard=True, gradient_checkpointing=True),
        replace(config, run=f"{config.run}-context", context_parallel=2),
        replace(config, run=f"{config.run}-both", context_parallel=2, shard=True),
    ]
    ends = in_ranks(2, train_many, runs, tmp_path, folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    for number, expected in enumerate((alone, alone, shared, shared)):
        same(load_file(tmp_path / f"{number}.safetensors"), expected, TOLERANCE)
    single = RunFolder(f"{config.run}-alone").records()
    for name in ("data", "shard"):
        several = RunFolder(f"{config.run}-{name}").records()
        for one, two in zip(single, several, strict=True):
            assert {k: v for k, v in two.items() if k == "loss"} == pytest.approx(
                {k: v for k, v in one.items() if k == "loss"}, abs=1e-4
            )
    saved = load_file(Path(f"{config.run}-shard") / "transformer" / "diffusion_pytorch_model.safetensors")
    same(saved, alone, TOLERANCE)


def test_a_sharded_run_that_lost_a_rank_or_was_stopped_goes_on_as_if_nothing_had_been(
    config: TransformerTraining, tmp_path: Path
) -> None:
    config = replace(config, shard=True, max_steps=4, checkpoint_minutes=0.0, precision="bf16")
    ends = in_ranks(2, train_and_end, config, 2, die, folder=tmp_path)
    assert ends[1][0] == 3
    assert ends[0][0] == 2
    assert "lost another one" in ends[0][1]
    assert (Path(config.run) / "checkpoint-000000002").is_dir()
    stopped = replace(config, run=f"{config.run}-stopped", checkpoint_minutes=60.0)
    ends = in_ranks(2, train_and_end, stopped, 1, terminate, folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    assert (Path(stopped.run) / "checkpoint-000000001").is_dir()

    whole = replace(config, run=f"{config.run}-whole")
    ends = in_ranks(2, train_many, [whole, config, stopped], tmp_path, folder=tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    for run in (1, 2):
        same(load_file(tmp_path / f"{run}.safetensors"), load_file(tmp_path / "0.safetensors"), 0.0)
    steps = [record["step"] for record in RunFolder(config.run).records() if "loss" in record]
    assert steps == [1, 2, 3, 4]
    fewer = in_ranks(1, train_many, [replace(config, max_steps=5)], tmp_path, folder=tmp_path)
    assert [code for code, _ in fewer] == [0], fewer
    assert RunFolder(config.run).records()[-1]["step"] == 5


def test_what_cannot_be_divided_is_refused(config: TransformerTraining) -> None:
    with pytest.raises(InputError, match="torchrun"):
        train_transformer(replace(config, shard=True))
    with pytest.raises(InputError, match="2; it must divide the 1 processes"):
        train_transformer(replace(config, context_parallel=2))
    with pytest.raises(InputError, match="compile"):
        replace(config, context_parallel=2, compile=True)
