"""Muon for convolutions, AdamW for the rest, as one optimizer."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["MuonAdamW"]


class MuonAdamW:
    """Muon for the `hidden` weights, convolutions taken as matrices [out, everything else], and AdamW for the `other`.

    torch's Muon accepts matrices only; these are views of the weights' memory, so the network needs no special layers.
    """

    def __init__(
        self, hidden: Iterable[nn.Parameter], other: Iterable[nn.Parameter], *, muon_rate: float, adam_rate: float
    ) -> None:
        self._hidden = list(hidden)
        self._matrices = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in self._hidden]
        self._muon = torch.optim.Muon(self._matrices, lr=muon_rate, weight_decay=0.0)
        self._adam = torch.optim.AdamW(other, lr=adam_rate, betas=(0.9, 0.99), weight_decay=0.0)
        self._rates = (muon_rate, adam_rate)

    def step(self, factor: float) -> None:
        """Update with the gradients at `factor` times the peak learning rates, and clear the gradients."""
        for optimizer, rate in zip((self._muon, self._adam), self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        for weight, matrix in zip(self._hidden, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.reshape(len(weight), -1)
            weight.grad = None
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._adam.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Momenta and counts, for a checkpoint."""
        return {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._muon.load_state_dict(state["muon"])
        self._adam.load_state_dict(state["adam"])
