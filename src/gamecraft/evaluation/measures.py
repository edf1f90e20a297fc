"""The names of all metrics: what they are called in reports, and which way is better."""

from dataclasses import dataclass

__all__ = ["GROUPS", "METRICS", "Metric", "metric_named"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """``better``: "higher", "lower", or "truth" if the truth's value is the best one. ``digits``: after the point."""

    label: str
    better: str
    digits: int = 3


METRICS = {
    "follows": Metric(label="action accuracy", better="higher"),
    "psnr": Metric(label="PSNR, dB", better="higher", digits=2),
    "ssim": Metric(label="SSIM", better="higher"),
    "sharpness": Metric(label="sharpness", better="truth"),
    "rpe_translation": Metric(label="RPE translation, m per 3 frames", better="lower"),
    "rpe_rotation": Metric(label="RPE rotation, degrees per 3 frames", better="lower", digits=2),
    "ate": Metric(label="ATE, m", better="lower"),
    "dynamic": Metric(label="dynamic average (DIS flow), width/1000", better="truth", digits=1),
    "consistency": Metric(label="temporal consistency (DIS warp)", better="higher", digits=4),
    "revisit": Metric(label="revisit PSNR, dB", better="higher", digits=2),
    "gain": Metric(label="gain (seen / commanded motion)", better="truth", digits=2),
    "delay": Metric(label="delay, frames", better="lower", digits=1),
    "seconds": Metric(label="seconds per chunk", better="lower"),
    "latency": Metric(label="seconds to the first chunk", better="lower"),
    "memory": Metric(label="peak memory, GB", better="lower", digits=2),
}

GROUPS = {
    "motion": ("follows", "rpe_translation", "rpe_rotation", "ate"),
    "pictures": ("psnr", "ssim", "sharpness"),
    "dynamics": ("dynamic", "consistency"),
    "revisit": ("revisit",),
    "response": ("gain", "delay"),
    "speed": ("seconds", "latency", "memory"),
}


def metric_named(name: str) -> Metric:
    """A metric, also one of pyiqa's, whose names are not known here."""
    return METRICS.get(name) or Metric(label=name, better="unknown", digits=4)
