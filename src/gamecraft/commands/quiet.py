"""The libraries' own progress bars and remarks, which a command replaces by its own."""

import logging

__all__ = ["quiet_libraries"]


def quiet_libraries() -> None:
    """Silence loading bars and everything but errors of diffusers and transformers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity(logging.ERROR)
