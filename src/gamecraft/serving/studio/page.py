"""The studio's page: forms over ``making`` and ``runs``, in Gradio."""

import asyncio
import dataclasses
import math
from functools import partial
from html import escape
from typing import Any

import gradio as gr
from fastapi import FastAPI

from gamecraft.actions import DEFAULT_MOVE_SPEED, DEFAULT_TURN_SPEED, MAX_MOVE_SPEED, MAX_TURN_SPEED
from gamecraft.errors import GameCraftError
from gamecraft.gallery import gallery
from gamecraft.inputs import scripted_actions
from gamecraft.serving.jobs import Jobs
from gamecraft.serving.messages import MAX_SAFE_SEED
from gamecraft.serving.server import GameServer, random_seed
from gamecraft.serving.studio.door import STUDIO_PATH
from gamecraft.serving.studio.making import GALLERY, PICTURE, RUN, STARTS, VIDEO, Form, Maker
from gamecraft.serving.studio.path_plot import draw_path
from gamecraft.serving.studio.runs import Run, RunStore
from gamecraft.video import read_video

__all__ = ["build_studio"]

_SCRIPT = "w 2s, w+d 1s, look:right 45deg over 1s"
_BUTTONS = (
    *(("Forward", "w"), ("Back", "s"), ("Left", "a"), ("Right", "d"), ("Rise", "space"), ("Sink", "ctrl")),
    *(("Turn left", "left"), ("Turn right", "right"), ("Look up", "up"), ("Look down", "down"), ("Wait", "idle")),
)
_WIDE = 210  # pixels that a slider needs
_MAX_SHOWN = 24  # pictures beneath a video
_TOGETHER = "() => document.querySelectorAll('#compare video').forEach((v) => { v.currentTime = 0; v.play(); })"
_CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto; }
#keys { gap: 6px; }
#gallery img, #history img { image-rendering: pixelated; }
video { image-rendering: pixelated; }
"""


def build_studio(server: GameServer, jobs: Jobs) -> FastAPI:
    """An application with the studio mounted where it belongs."""
    runs = RunStore(server.config.state / "studio")
    blocks = Studio(server, jobs, runs).blocks()
    theme = gr.themes.Default(  # the computer's own fonts: nothing is fetched from elsewhere
        primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    app: FastAPI = gr.mount_gradio_app(
        FastAPI(),
        blocks,
        STUDIO_PATH,
        footer_links=[],
        run_history=False,
        allowed_paths=[str(server.config.state / "studio"), *{str(one.path.parent) for one in gallery().values()}],
        max_file_size=server.config.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        theme=theme,
        css=_CSS,
    )
    return app


class Studio:
    """Builds the page and answers its events."""

    def __init__(self, server: GameServer, jobs: Jobs, runs: RunStore) -> None:
        self._server, self._runs = server, runs
        self._maker = Maker(server, jobs, runs)

    # --- the page ----------------------------------------------------------------------------------------------------

    def blocks(self) -> gr.Blocks:
        """The page with its events."""
        hour = 3600
        with gr.Blocks(title="gamecraft studio", analytics_enabled=False, delete_cache=(hour, 24 * hour)) as blocks:
            gr.Markdown("# gamecraft studio\nA picture, a prompt and a script become a video. [Play instead](../)")
            with gr.Tab("Make"):
                form, made = self._make_tab()
            with gr.Tab("Compare"):
                compared = self._compare_tab()
            with gr.Tab("History"):
                shown, again = self._history_tab()
            again.click(self.settings_of, shown, form, api_visibility="private")
            choices = [form[4], *compared, shown]
            for event in (blocks.load, made):
                event(self.choices, None, choices, api_visibility="private")
        return blocks

    def _make_tab(self) -> tuple[list[Any], Any]:
        with gr.Row():
            with gr.Column(scale=5):
                start, sources = _start_fields()
                prompt = gr.Textbox(label="Prompt", lines=3, value=next(iter(gallery().values())).caption_long)
                script = _script_fields()
                with gr.Row():
                    make = gr.Button("Make the video", variant="primary", scale=3)
                    stop = gr.Button("Stop", scale=1)
                with gr.Accordion("Settings", open=False):
                    negative, seed, steps, guidance = self._setting_fields()
                    smoothing, *speeds = _motion_fields()
            with gr.Column(scale=6):
                video = gr.Video(label="Video", autoplay=True, loop=True, buttons=["download"])
                told = gr.Markdown("Nothing has been made yet. The path of the script is below.")
                pictures = gr.Gallery(label="Last picture of each chunk", columns=6, height=190, visible=False)
                gr.Markdown("**The path of the script**, seen from above")
                path = gr.HTML(self.path(_SCRIPT, 0.0, *(speed.value for speed in speeds)))
        drawn = [script, smoothing, *speeds]
        gr.on([field.change for field in drawn], self.path, drawn, path, api_name="path", show_progress="hidden",
              trigger_mode="always_last")  # fmt: skip
        sources[0].change(self.caption, sources[0], prompt, api_visibility="private")
        form = [start, *sources, prompt, negative, script, seed, steps, guidance, smoothing, *speeds]
        event = make.click(self.make, form, [video, told, pictures], api_name="make", concurrency_limit=8)
        stop.click(None, cancels=[event])
        return form, event.success

    def _setting_fields(self) -> list[Any]:
        config = self._server.pipe.config
        negative = gr.Textbox("", label="Negative prompt", info="what guidance leads away from", lines=2)
        with gr.Row():
            seed = gr.Number(label="Seed", value=0, precision=0, minimum=0, maximum=MAX_SAFE_SEED)
            other = gr.Button("Another seed", min_width=120)
        with gr.Row():
            steps = gr.Slider(
                *(1, 100, config.num_inference_steps), step=1, label="Steps", info="per chunk", min_width=_WIDE
            )
            guidance = gr.Slider(
                *(1, 20, config.guidance_scale), step=0.1, label="Guidance", info="1 is none", min_width=_WIDE
            )
        other.click(random_seed, None, seed, api_visibility="private", show_progress="hidden")
        return [negative, seed, steps, guidance]

    def _compare_tab(self) -> list[gr.Dropdown]:
        with gr.Row():
            left, right = (
                gr.Dropdown([], allow_custom_value=True, label=f"Run {name}", interactive=True) for name in "AB"
            )
        with gr.Row(elem_id="compare"):
            videos = [gr.Video(label=name, loop=True, buttons=["download"]) for name in "AB"]
        together = gr.Button("Play both from the start")
        differences = gr.HTML()
        both = [left, right]
        gr.on([left.change, right.change], self.compare, both, [*videos, differences], api_name="compare")
        together.click(None, js=_TOGETHER)
        return both

    def _history_tab(self) -> tuple[gr.Dropdown, gr.Button]:
        pictures = gr.Gallery(label="Runs", elem_id="history", columns=6, height=250, allow_preview=False)
        shown = gr.Dropdown([], allow_custom_value=True, label="Run", interactive=True)
        with gr.Row():
            video = gr.Video(label="Video", loop=True, buttons=["download"])
            with gr.Column():
                about = gr.HTML()
                again = gr.Button("Put these settings into the form")
                remove = gr.Button("Remove from the history", variant="stop")
        shown.change(self.show, shown, [video, about], api_name="run")
        gr.on([shown.change, shown.input], self.thumbnails, None, pictures, api_visibility="private")
        pictures.select(self.chosen, None, shown, api_visibility="private")
        remove.click(self.remove, shown, shown, api_visibility="private").then(
            self.thumbnails, None, pictures, api_visibility="private"
        )
        return shown, again

    # --- making ------------------------------------------------------------------------------------------------------

    async def make(self, *values: Any, progress: Any = gr.Progress()) -> tuple[Any, str, Any]:  # noqa: B008
        """Make a video. Gradio shows the error's line if a value is not valid."""
        names = [field.name for field in dataclasses.fields(Form)]
        form = Form(**dict(zip(names, values, strict=True)))
        try:
            run = await self._maker.make(
                dataclasses.replace(
                    form,
                    prompt=form.prompt or "",  # what was never opened in the browser is None
                    negative_prompt=form.negative_prompt or "",
                    seed=int(form.seed or 0),
                    steps=int(form.steps),
                ),
                lambda done, total: progress((done, total), desc="The video is being made", unit="frames"),
            )
            frames, _ = await asyncio.to_thread(read_video, self._runs.video(run))
        except GameCraftError as error:
            raise gr.Error(str(error), print_exception=False) from None
        length = self._server.pipe.config.chunk_frames
        ends = frames[length - 1 :: length]
        ends = ends[:: math.ceil(len(ends) / _MAX_SHOWN)]
        told = f"{run.frames} frames in {run.seconds:.1f} s, seed {run.seed}. {_links(run)}"
        return str(self._runs.video(run)), told, gr.Gallery(value=list(ends), visible=True)

    def path(self, script: str, smoothing: float, move_speed: float, turn_speed: float) -> str:
        """The path of a script as SVG, or what is wrong with it."""
        try:
            fps = self._server.pipe.config.fps
            actions = scripted_actions(script, fps, speed=move_speed, turn=turn_speed)
            return draw_path(actions, fps, smoothing)
        except GameCraftError as error:
            return f'<pre style="white-space: pre-wrap">{escape(str(error))}</pre>'

    def caption(self, name: str) -> str:
        """The prompt that belongs to a gallery picture."""
        return gallery()[name].caption_long

    # --- runs --------------------------------------------------------------------------------------------------------

    def choices(self) -> list[Any]:
        """The lists of runs, the newest chosen."""
        runs = self._runs.all()
        pairs = [(run.title, run.session) for run in runs]
        first, second = (runs[index].session if len(runs) > index else None for index in (0, 1))
        return [gr.Dropdown(choices=pairs, value=value) for value in (first, second, first, first)]

    def compare(self, left: str | None, right: str | None) -> list[Any]:
        """Two videos and a table of what differs."""
        runs = [self._runs.get(session) if session else None for session in (left, right)]
        videos = [str(self._runs.video(run)) if run else None for run in runs]
        first, second = runs
        none = "<p>Choose two runs. There are none before the first.</p>"
        return [*videos, _differences(first, second) if first and second else none]

    def show(self, session: str | None) -> list[Any]:
        """A run's video and settings."""
        if not session:
            return [None, "<p>No run yet: make a video first.</p>"]
        run = self._runs.get(session)
        return [
            str(self._runs.video(run)),
            _table([(name, value) for name, value in _facts(run).items()]) + _links(run),
        ]

    def thumbnails(self) -> list[tuple[str, str]]:
        """A picture of each run."""
        return [(str(self._runs.picture(run)), run.title) for run in self._runs.all()]

    def chosen(self, event: gr.SelectData) -> str:
        """The run whose picture was clicked."""
        return str(self._runs.all()[event.index].session)

    def remove(self, session: str | None) -> Any:
        """Forget a run; its session stays."""
        if session:
            self._runs.remove(self._runs.get(session))
        runs = self._runs.all()
        return gr.Dropdown([(run.title, run.session) for run in runs], value=runs[0].session if runs else None)

    def settings_of(self, session: str | None) -> list[Any]:
        """A run's settings as values of the form, to go on from where it began."""
        if not session:
            raise gr.Error("there is no run yet", print_exception=False)
        run = self._runs.get(session)
        known = run.start in gallery()
        values = {field.name: getattr(run, field.name, gr.skip()) for field in dataclasses.fields(Form)}
        values |= {"start": GALLERY, "gallery": run.start} if known else {"start": gr.skip()}
        return list(values.values())


def _start_fields() -> tuple[gr.Radio, list[Any]]:
    """What a video starts from; only the field that is chosen can be seen."""
    names = list(gallery())
    start = gr.Radio(list(STARTS), value=GALLERY, label="Start from")
    with gr.Column() as pictures:
        named = [(str(one.path), one.name.replace("_", " ")) for one in gallery().values()]
        shown = gr.Gallery(
            named, show_label=False, columns=3, height=262, allow_preview=False, elem_id="gallery", selected_index=0
        )
        name = gr.Dropdown(names, value=names[0], visible=False)  # what is clicked above
    picture = gr.Image(
        type="filepath", image_mode=None, sources=["upload", "clipboard"], visible=False, label=PICTURE, height=240
    )
    video = gr.Video(sources=["upload"], visible=False, label="A video, whose last frames are gone on from", height=240)
    run = gr.Dropdown(
        [], allow_custom_value=True, visible=False, label="A run, which is gone on from exactly", interactive=True
    )

    def chosen(start: str) -> list[Any]:
        visible = [start == one for one in (GALLERY, PICTURE, VIDEO, RUN)]
        return [
            kind(visible=on) for kind, on in zip((gr.Column, gr.Image, gr.Video, gr.Dropdown), visible, strict=True)
        ]

    def picked(event: gr.SelectData) -> str:
        return str(names[event.index])

    start.change(chosen, start, [pictures, picture, video, run], api_visibility="private", show_progress="hidden")
    shown.select(picked, None, name, api_visibility="private", show_progress="hidden")
    return start, [name, picture, video, run]


def _script_fields() -> gr.Textbox:
    """The script, and buttons that add to it."""
    with gr.Row():
        script = gr.Textbox(
            label="Script",
            value=_SCRIPT,
            lines=2,
            scale=5,
            info="keys and durations, such as w 2s, w+d 10f, look:right 45deg over 20f, 3x(left 1s, w 1s)",
        )
        seconds = gr.Number(
            label="Seconds", info="of each key added", value=1, minimum=0.05, maximum=60, step=0.05, min_width=110
        )
    with gr.Row(elem_id="keys"):
        for label, key in _BUTTONS:
            gr.Button(label, size="sm", min_width=72).click(
                partial(_added, key), [script, seconds], script, api_visibility="private", show_progress="hidden"
            )
    return script


def _motion_fields() -> list[gr.Slider]:
    """Smoothing, speed and turn."""
    with gr.Row():
        move = gr.Slider(
            *(0, MAX_MOVE_SPEED, DEFAULT_MOVE_SPEED), step=0.01, label="Speed", info="metres per frame", min_width=_WIDE
        )
        most, usual = math.degrees(MAX_TURN_SPEED), math.degrees(DEFAULT_TURN_SPEED)
        turn = gr.Slider(0, most, usual, step=0.1, label="Turn", info="degrees per frame", min_width=_WIDE)
    smoothing = gr.Slider(0, 0.95, 0, step=0.05, label="Smoothing", info="how slowly keys take effect")
    return [smoothing, move, turn]


def _added(key: str, script: str, seconds: float) -> str:
    item = f"{key} {seconds or 1:g}s"
    return f"{script.rstrip().rstrip(',')}, {item}" if script.strip() else item


def _facts(run: Run) -> dict[str, str]:
    values = dataclasses.asdict(run)
    return {name.replace("_", " "): str(values[name]) for name in values if name not in ("created", "follows")}


def _differences(left: Run, right: Run) -> str:
    one, other = _facts(left), _facts(right)
    return _table([(name, one[name], other[name]) for name in one if one[name] != other[name]])


def _table(rows: list[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _links(run: Run) -> str:
    return (
        f'<a href="../#watch={run.session}" target="_blank">Open in the page</a> to watch it with its keys and play '
        f'on, or download the <a href="../api/sessions/{run.session}/file">session file</a>.'
    )
