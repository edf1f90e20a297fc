"""Learned metrics read weights in their published formats, here random ones; without weights there is no number."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

from gamecraft.errors import CheckpointError, InputError
from gamecraft.evaluation.i3d import InceptionI3d, _same
from gamecraft.evaluation.learned import PyiqaMetric, missing_metrics
from gamecraft.evaluation.perceptual import Aesthetic, Lpips
from gamecraft.evaluation.report import write_report
from gamecraft.evaluation.run import EvaluationSettings, evaluate
from gamecraft.evaluation.signals import Signal
from gamecraft.evaluation.suites import SUITES, Suite
from gamecraft.evaluation.video_features import I3dFeatures, VideoMaeFeatures

VIDEO = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt"
    network = InceptionI3d()
    for name, weights in network.named_parameters():
        if name.endswith("conv3d.weight"):
            torch.nn.init.kaiming_normal_(weights)  # so that what goes in comes out
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def lpips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of torchvision's AlexNet and of LPIPS's own file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lpips")
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    weights: dict[str, Any] = {"classifier.1.bias": torch.zeros(8)}
    for number, (out, into, size) in shapes.items():
        weights[f"features.{number}.weight"] = torch.randn(out, into, size, size) * (2 / into / size**2) ** 0.5
        weights[f"features.{number}.bias"] = torch.zeros(out)
    torch.save(weights, folder / "alexnet-owt-7be5be79.pth")
    heads = {f"lin{i}.model.1.weight": torch.full((1, out, 1, 1), 0.5) for i, (out, *_) in enumerate(shapes.values())}
    torch.save(heads, folder / "alex.pth")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP model, as it is published, with LAION's linear head."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": 32, "patch_size": 16, "projection_dim": 12}
    text = {**small, "vocab_size": 20, "projection_dim": 12}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    head = {"weight": torch.randn(1, 12), "bias": torch.tensor([5.0])}
    torch.save(head, folder / "sa_0_4_vit_l_14_linear.pth")
    return folder


def test_i3d_has_the_published_names_and_shapes(i3d: Path) -> None:
    weights = torch.load(i3d, weights_only=True)
    for name, shape in {
        "Conv3d_1a_7x7.conv3d.weight": [64, 3, 7, 7, 7],
        "Conv3d_2c_3x3.bn.running_var": [192],
        "Mixed_3b.b3b.conv3d.weight": [32, 192, 1, 1, 1],
        "Mixed_4f.b1b.conv3d.weight": [320, 160, 3, 3, 3],
        "Mixed_5c.b2a.conv3d.weight": [48, 832, 1, 1, 1],
        "logits.conv3d.weight": [400, 1024, 1, 1, 1],
        "logits.conv3d.bias": [400],
    }.items():
        assert list(weights[name].shape) == shape
    assert not any("logits.bn" in name or "conv3d.bias" in name for name in weights if name != "logits.conv3d.bias")


def test_padding_is_tensorflows() -> None:
    padded = _same(torch.ones(1, 1, 16, 224, 225), (7, 7, 7), (2, 2, 2))
    assert list(padded.shape[2:]) == [21, 229, 231]  # output ceil(n / 2) each, the odd zero behind
    assert padded[0, 0, :, 100, 100].tolist() == [0, 0, *[1] * 16, 0, 0, 0]


def test_i3d_features_depend_on_the_video(i3d: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(I3dFeatures, "_SIZE", 64)
    extractor = I3dFeatures(str(i3d))
    features = extractor(VIDEO)
    assert extractor.name == "i3d:i3d_pretrained_400"
    assert features.shape == (400,)
    assert np.array_equal(extractor(VIDEO), features)
    assert np.abs(extractor(VIDEO[::-1]) - features).max() > 1e-2  # order in time matters
    assert extractor(VIDEO[:3]).shape == (400,)


def test_weights_that_do_not_fit_are_one_clear_line(i3d: Path, lpips: Path, clip: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds no I3D with 400 classes") as caught:
        I3dFeatures(str(tmp_path / "other.pt"))
    assert "\n" not in str(caught.value)
    (tmp_path / "alexnet.pth").write_bytes((lpips / "alexnet-owt-7be5be79.pth").read_bytes())
    with pytest.raises(CheckpointError, match=r"alex.pth: no such file"):
        Lpips(str(tmp_path))
    torch.save({"a": torch.zeros(1)}, tmp_path / "alex.pth")
    with pytest.raises(CheckpointError, match="other weights than LPIPS on AlexNet"):
        Lpips(str(tmp_path))
    with pytest.raises(CheckpointError, match="holds no VideoMAE model"):
        VideoMaeFeatures(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights of a VideoMAE encoder"):
        VideoMaeFeatures(str(clip))
    torch.save({"weight": torch.zeros(1, 5), "bias": torch.zeros(1)}, tmp_path / "sa_0_4_vit_b_32_linear.pth")
    for file in clip.glob("*.*"):
        if file.suffix in (".json", ".safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="no linear head for this CLIP model"):
        Aesthetic(str(tmp_path))


def test_equal_pictures_have_no_perceptual_distance_and_noise_adds_to_it(lpips: Path) -> None:
    distance = Lpips(str(lpips))
    picture = VIDEO[:2]
    noisy = (picture.astype(int) + np.random.default_rng(1).integers(-40, 41, picture.shape)).clip(0, 255)
    near = noisy.astype(np.uint8)
    assert distance(picture, picture) == 0
    assert 0 < distance(near, picture) < distance(VIDEO[4:6], picture) < 5
    assert distance(near, picture) == pytest.approx(distance(picture, near))


def test_aesthetic_is_linear_in_the_normalised_embedding(clip: Path) -> None:
    score = Aesthetic(str(clip))
    value = score(VIDEO[:2], VIDEO[:2])
    assert value == pytest.approx((score(VIDEO[:1], VIDEO[:1]) + score(VIDEO[1:2], VIDEO[1:2])) / 2, abs=1e-5)
    weight = torch.load(clip / "sa_0_4_vit_l_14_linear.pth", weights_only=True)["weight"]
    assert abs(value - 5) <= float(weight.norm()) + 1e-5  # an embedding of length 1
    assert score(255 - VIDEO[:2], VIDEO[:2]) != value


def test_videomae_reads_the_encoder_alone_and_out_of_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 16, "num_frames": 4, "hidden_size": 16, "intermediate_size": 16}
    config = VideoMAEConfig(num_hidden_layers=1, num_attention_heads=2, use_mean_pooling=False, **sizes)
    classifier = VideoMAEForVideoClassification(config)
    classifier.save_pretrained(tmp_path / "classifier")
    encoder = VideoMAEModel(config)
    encoder.load_state_dict(classifier.videomae.state_dict())
    encoder.save_pretrained(tmp_path / "tiny")
    extractor = VideoMaeFeatures(str(tmp_path / "tiny"))
    features = extractor(VIDEO)
    assert features.shape == (16,)
    assert extractor.name == "videomae:tiny"
    assert np.array_equal(extractor(VIDEO), features)
    assert np.abs(extractor(255 - VIDEO) - features).max() > 1e-3
    assert VideoMaeFeatures(str(tmp_path / "classifier"))(VIDEO) == pytest.approx(features, abs=1e-6)


class Stand:
    """What pyiqa gives: a metric with a mode, called with pictures [F, 3, H, W] in [0, 1]."""

    def __init__(self, mode: str) -> None:
        self.metric_mode = mode

    def __call__(self, *pictures: torch.Tensor) -> torch.Tensor:
        assert all(0 <= float(x.min()) <= float(x.max()) <= 1 and x.shape[1] == 3 for x in pictures)
        return (
            pictures[0].mean(dim=(1, 2, 3)) if len(pictures) == 1 else (pictures[0] - pictures[1]).abs().mean((1, 2, 3))
        )


def test_pyiqas_metrics_compare_or_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, device: str) -> Stand:
        if name == "unknown":
            raise RuntimeError("Error: Unknown metric")
        return Stand("FR" if name == "lpips" else "NR")

    library = types.ModuleType("pyiqa")
    library.create_metric = create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", library)
    comparing, alone = PyiqaMetric("lpips"), PyiqaMetric("musiq")
    assert comparing.needs_truth
    assert not alone.needs_truth
    assert comparing(VIDEO, VIDEO) == 0
    assert alone(VIDEO, VIDEO) == pytest.approx(VIDEO.mean() / 255, abs=1e-5)
    with pytest.raises(InputError, match="pyiqa cannot make unknown: Error: Unknown metric"):
        PyiqaMetric("unknown")
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(InputError, match="needs the package pyiqa, which does not load"):
        PyiqaMetric("lpips")


def test_what_has_weights_is_in_the_report_and_the_rest_is_listed(
    i3d: Path, lpips: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(I3dFeatures, "_SIZE", 32)
    signals = {"there and back": Signal(keys="right", then="left")}
    suite = Suite(name="revisit", about="", signals=signals, rows=("model", "truth"), groups=("revisit",))
    monkeypatch.setitem(SUITES, "revisit", suite)
    weights = {"i3d": str(i3d), "lpips": str(lpips), "aesthetic": str(clip)}
    settings = EvaluationSettings(suite="revisit", model="freeze", output=str(tmp_path), starts=2, chunks=2, **weights)
    report = write_report(settings, evaluate(settings))
    (name,) = report["distances"]
    assert name == "FVD [i3d:i3d_pretrained_400, 2 rollouts]"
    assert report["distances"][name]["model"] > 0
    scores = report["overall"]
    assert scores["truth"]["lpips_alex"][0]["mean"] == 0 < scores["model"]["lpips_alex"][0]["mean"]
    assert scores["model"]["revisit_lpips_alex"][0] is None
    assert scores["model"]["revisit_lpips_alex"][1]["mean"] == 0  # a frozen picture is the same when it is revisited
    assert "aesthetic_laion" in scores["model"]
    assert [line.partition(":")[0] for line in report["missing"]] == ["image quality"]
    assert len(missing_metrics([], [])) == 4
