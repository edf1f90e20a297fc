"""The published step cache: on a fixed schedule, only the last block and the output layer are computed again.

The last block then gets the tokens that entered it at the last full step. The schedule depends on nothing but the step,
so all ranks of a parallel run agree on it; tokens are kept for each cache context, so the halves of guidance that are
computed one after the other do not see each other's.
"""

from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks.hooks import BaseState, StateManager
from torch import Tensor, nn

from gamecraft.models.transformer import GameCraftTransformer3DModel

__all__ = ["SCHEDULED_STEPS", "apply_published_step_cache", "is_skipped"]

SCHEDULED_STEPS = 50
"""The only number of steps for which the published code has a schedule; others are computed in full."""

_NAME = "published_step_cache"


def is_skipped(step: int | None, num_inference_steps: int | None) -> bool:
    """Whether a denoising step, from 0, uses kept tokens: every other one from 11 to 39 of 50."""
    return num_inference_steps == SCHEDULED_STEPS and step is not None and 10 < step < 40 and step % 2 == 1


def apply_published_step_cache(transformer: GameCraftTransformer3DModel) -> None:
    """Put the cache onto a transformer, whose calls then need ``cache_context(name, step_index=..., ...)``."""
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    states = StateManager(_Tokens)
    for block in blocks[:-1]:
        HookRegistry.check_if_exists_or_initialize(block).register_hook(_PassThrough(states), _NAME)
    HookRegistry.check_if_exists_or_initialize(blocks[-1]).register_hook(_KeepInput(states), _NAME)
    HookRegistry.check_if_exists_or_initialize(transformer).invalidate_child_registries_cache()


class _Tokens(BaseState):  # type: ignore[misc]
    """Image and text tokens before the last block at the last full step."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget them."""
        self.kept: tuple[Tensor, Tensor] | None = None


class _Hook(ModelHook):  # type: ignore[misc]
    _is_stateful = True

    def __init__(self, states: StateManager) -> None:
        super().__init__()
        self.states = states

    def reset_state(self, module: nn.Module) -> nn.Module:
        self.states.reset()
        return module

    def _kept(self) -> tuple[Tensor, Tensor] | None:
        """What to use in this step instead of computing it."""
        context = self.states.context
        skipped = is_skipped(context.step_index, context.num_inference_steps)
        tokens: tuple[Tensor, Tensor] | None = self.states.get_state().kept if skipped else None
        return tokens


class _PassThrough(_Hook):
    def new_forward(self, module: nn.Module, image: Tensor, text: Tensor, *others: Any) -> Any:
        if self._kept() is not None:
            return image, text
        return self.fn_ref.original_forward(image, text, *others)


class _KeepInput(_Hook):
    def new_forward(self, module: nn.Module, image: Tensor, text: Tensor, *others: Any) -> Any:
        tokens = self._kept()
        if tokens is None:
            tokens = self.states.get_state().kept = (image, text)
        return self.fn_ref.original_forward(*tokens, *others)
