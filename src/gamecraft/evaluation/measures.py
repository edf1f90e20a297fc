"""The names of all metrics: what they are called in reports, and which way is better."""

from dataclasses import dataclass, replace

__all__ = ["METRICS", "Metric", "metric_named", "seen_by"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``better``: "higher", "lower", or "truth" if the truth's value is the best one. ``digits``: after the point."""

    label: str
    better: str
    digits: int = 3


METRICS = {
    "follows": Metric(label="action accuracy", better="higher"),
    "direction": Metric(label="direction accuracy", better="higher"),
    "psnr": Metric(label="PSNR, dB", better="higher", digits=2),
    "ssim": Metric(label="SSIM", better="higher"),
    "sharpness": Metric(label="sharpness", better="truth"),
    "rpe_translation": Metric(label="RPE translation, m per 3 frames", better="lower"),
    "rpe_rotation": Metric(label="RPE rotation, degrees per 3 frames", better="lower", digits=2),
    "ate": Metric(label="ATE, m", better="lower"),
    "rpe_translation_1": Metric(label="RPE translation, m per frame", better="lower"),
    "rpe_rotation_1": Metric(label="RPE rotation, degrees per frame", better="lower"),
    "placed": Metric(label="rollouts with a camera path", better="higher"),
    "dynamic": Metric(label="dynamic average (DIS flow), width/1000", better="truth", digits=1),
    "consistency": Metric(label="temporal consistency (DIS warp)", better="higher", digits=4),
    "revisit": Metric(label="revisit PSNR, dB", better="higher", digits=2),
    "lpips_alex": Metric(label="LPIPS (AlexNet)", better="lower"),
    "revisit_lpips_alex": Metric(label="revisit LPIPS (AlexNet)", better="lower"),
    "aesthetic_laion": Metric(label="aesthetic score (LAION, CLIP)", better="higher", digits=2),
    "pyiqa:lpips": Metric(label="LPIPS (pyiqa)", better="lower"),
    "pyiqa:musiq": Metric(label="image quality (MUSIQ, pyiqa)", better="higher", digits=1),
    "pyiqa:laion_aes": Metric(label="aesthetic score (LAION, pyiqa)", better="higher", digits=2),
    "gain": Metric(label="gain (seen / commanded motion)", better="truth", digits=2),
    "delay": Metric(label="delay, frames", better="lower", digits=1),
    "seconds": Metric(label="seconds per chunk", better="lower"),
    "latency": Metric(label="seconds to the first chunk", better="lower"),
    "memory": Metric(label="peak memory, GB", better="lower", digits=2),
}


def seen_by(metric: str, estimator: str) -> str:
    """The name of a metric that is computed from what an estimator saw: numbers of two estimators never mix."""
    return f"{metric} [{estimator}]"


def metric_named(name: str) -> Metric:
    """A metric by its name, with its estimator if it has one; also those of learned metrics, not listed here."""
    base, bracket, estimator = name.partition(" [")
    known = METRICS.get(base)
    if known is None:
        return Metric(label=name, better="unknown", digits=4)
    label, comma, unit = known.label.partition(",")
    return replace(known, label=f"{label}{bracket}{estimator}{comma}{unit}")
