"""Graphics cards as their makers describe them; for predictions, nothing here was measured."""

from gamecraft.errors import InputError
from gamecraft.estimate import Assumptions

__all__ = ["DEVICES", "device_named"]


def _card(memory_gb: float, peak_tflops: float, transfer_gbs: float) -> Assumptions:
    return Assumptions(memory_gb=memory_gb, peak_tflops=peak_tflops, transfer_gbs=transfer_gbs)


# dense bfloat16 with float32 sums; transfers at about 80 % of the slot's rate
DEVICES: dict[str, Assumptions] = {
    "rtx3060": _card(12, 51, 20),
    "rtx3090": _card(24, 71, 20),
    "rtx4070": _card(12, 58, 20),
    "rtx4080": _card(16, 97, 20),
    "rtx4090": _card(24, 165, 20),
    "rtx5090": _card(32, 209, 50),
    "a6000": _card(48, 155, 20),
    "l40s": _card(48, 362, 20),
    "a100": _card(80, 312, 20),
    "h20": _card(96, 148, 50),
    "h100": _card(80, 989, 50),
    "h200": _card(141, 989, 50),
    "b200": _card(180, 2250, 50),
}


def device_named(name: str) -> Assumptions:
    """The card of a name such as "RTX 4090" or "NVIDIA GeForce RTX 4090".

    Raises:
        InputError: it is not in the list.
    """
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    for known, device in DEVICES.items():
        if known in plain:
            return device
    raise InputError(f"no figures for {name!r:.60}; known: {', '.join(DEVICES)}")
