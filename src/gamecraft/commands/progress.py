"""The progress bar of commands that make frames."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["frame_progress", "stage_progress"]


@contextmanager
def frame_progress(total: int) -> Iterator[Callable[[float], None]]:
    """A bar with frames, frames per second and time left; gives the function to call with the number of frames done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(), TextColumn("left"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"0/{total} frames", total=total)
        first: tuple[float, float] | None = None

        def update(done: float) -> None:
            nonlocal first
            now = time.monotonic()
            first = first or (now, done)  # a resumed video starts in the middle
            rate = (done - first[1]) / max(now - first[0], 1e-9) if done > first[1] else 0.0
            bar.update(task, completed=done, description=f"{int(done)}/{total} frames, {rate:.1f} frames/s")

        yield update


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with time left for each stage; gives the function to call with its name, the units done and all units."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, TextColumn("left"), console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield update
