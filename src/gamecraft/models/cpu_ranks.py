"""What context parallelism of diffusers lacks where the ranks are CPUs over gloo; GPUs have both."""

from typing import Any

import torch
import torch.distributed as dist
from diffusers.hooks import context_parallel
from diffusers.models import attention_dispatch
from torch import Tensor

__all__ = ["support_cpu_ranks"]


def support_cpu_ranks() -> None:
    """Let gloo gather pieces of different lengths, and PyTorch's attention give the sums that ring attention needs."""
    context_parallel._all_gather_anything = _gather_uneven
    attention_dispatch._native_attention_forward_op = _attention_with_sums


def _gather_uneven(tensor: Tensor, dim: int, group: Any) -> Tensor:
    """Pieces of all ranks one after the other; gloo gathers equal sizes alone, so they are filled up and cut."""
    lengths = context_parallel.gather_size_by_comm(tensor.shape[dim], group)
    shape = list(tensor.shape)
    shape[dim] = max(lengths)
    filled = tensor.new_zeros(shape)
    filled.narrow(dim, 0, tensor.shape[dim]).copy_(tensor)
    pieces = [torch.empty_like(filled) for _ in lengths]
    dist.all_gather(pieces, filled, group=group)
    return torch.cat([piece.narrow(dim, 0, n) for piece, n in zip(pieces, lengths, strict=True)], dim=dim)


def _attention_with_sums(
    ctx: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    **_: Any,
) -> Any:
    """Attention [B, S, H, D] for inference, and with ``return_lse`` the logarithms of its sums [B, S, H]."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if not return_lse:
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=attn_mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return attended.transpose(1, 2)
    attended, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )
    return attended.transpose(1, 2), sums.transpose(1, 2)
