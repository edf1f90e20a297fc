"""Contact sheets: some frames of a video side by side, with the keys that were held drawn on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gamecraft.actions import Action, Key
from gamecraft.files import write_atomically

__all__ = ["Cell", "contact_sheet", "draw_action", "sample_frames", "write_sheet"]

_WIDTH = 240  # pixels of a picture on the sheet
_CAPTION = 16
_GAP = 6
_PAPER, _INK = (24, 24, 28), (214, 214, 220)
_LIT, _UNLIT, _EDGE = (255, 206, 84, 235), (0, 0, 0, 110), (255, 255, 255, 120)
_LETTERS = {Key.W: (1.0, 0.0), Key.A: (0.0, 1.0), Key.S: (1.0, 1.0), Key.D: (2.0, 1.0)}
_ARROWS = {Key.UP: (1.0, 0.0), Key.LEFT: (0.0, 1.0), Key.DOWN: (1.0, 1.0), Key.RIGHT: (2.0, 1.0)}
_TRIANGLES = {
    Key.UP: ((0.5, 0.25), (0.25, 0.7), (0.75, 0.7)),
    Key.DOWN: ((0.5, 0.75), (0.25, 0.3), (0.75, 0.3)),
    Key.LEFT: ((0.25, 0.5), (0.7, 0.25), (0.7, 0.75)),
    Key.RIGHT: ((0.75, 0.5), (0.3, 0.25), (0.3, 0.75)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """A picture of a sheet: uint8 [H, W, 3], its caption, and the action that led to it, if any."""

    frame: NDArray[np.uint8]
    caption: str
    action: Action | None = None


def sample_frames(total: int, count: int) -> list[int]:
    """At most ``count`` frame numbers spread evenly over ``total`` frames, with the first and the last."""
    return sorted({round(i) for i in np.linspace(0, total - 1, min(count, total)).tolist()})


def contact_sheet(cells: Sequence[Cell], columns: int) -> Image.Image:
    """Pictures of equal size in rows of ``columns``."""
    height, width = cells[0].frame.shape[:2]
    size = (_WIDTH, max(1, _WIDTH * height // width))
    step = (size[0] + _GAP, size[1] + _CAPTION + _GAP)
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for number, cell in enumerate(cells):
        x, y = _GAP + number % columns * step[0], _GAP + number // columns * step[1]
        picture = Image.fromarray(cell.frame).resize(size, Image.Resampling.BICUBIC)
        sheet.paste(picture if cell.action is None else draw_action(picture, cell.action), (x, y))
        draw.text((x + 1, y + size[1] + 1), _shortened(cell.caption, font, size[0]), _INK, font)
    return sheet


def draw_action(picture: Image.Image, action: Action) -> Image.Image:
    """The picture with WASD, space and ctrl, the mouse and the arrows along its lower edge; what is held is lit."""
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    unit = max(6.0, picture.width / 15)
    top = picture.height - 2.25 * unit
    for keys, left in ((_LETTERS, 0.25 * unit), (_ARROWS, picture.width - 3.25 * unit)):
        for key, (column, row) in keys.items():
            box = _cap(draw, left + column * unit, top + row * unit, unit, unit, lit=key in action.keys)
            if key in _TRIANGLES:
                corners = [(box[0] + x * unit, box[1] + y * unit) for x, y in _TRIANGLES[key]]
                draw.polygon(corners, fill=_ink(key in action.keys))
            else:
                _label(draw, box, key.upper(), unit, lit=key in action.keys)
    for key, row in ((Key.SPACE, 0.0), (Key.CTRL, 1.0)):
        box = _cap(draw, 3.75 * unit, top + row * unit, 2.2 * unit, unit, lit=key in action.keys)
        _label(draw, box, key.upper(), unit * 0.8, lit=key in action.keys)
    _mouse(draw, (picture.width - 4.6 * unit, top + unit), 0.8 * unit, action.look)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def write_sheet(path: Path, cells: Sequence[Cell], columns: int = 5) -> None:
    """Write a contact sheet as PNG; the file is whole or absent."""
    sheet = contact_sheet(cells, columns)
    with write_atomically(path) as temporary:
        sheet.save(temporary, "PNG")


def _cap(
    draw: ImageDraw.ImageDraw, x: float, y: float, width: float, height: float, *, lit: bool
) -> tuple[float, float, float, float]:
    box = (x, y, x + width, y + height)
    inner = (x + 1, y + 1, x + width - 1, y + height - 1)
    draw.rounded_rectangle(inner, radius=height / 5, fill=_LIT if lit else _UNLIT, outline=_EDGE)
    return box


def _label(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], text: str, size: float, *, lit: bool
) -> None:
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    draw.text(centre, text, _ink(lit), ImageFont.load_default(max(6.0, size * 0.62)), anchor="mm")


def _mouse(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, look: tuple[float, float]) -> None:
    """A ring, and a dot towards where the mouse moved."""
    x, y = centre
    moved = float(np.hypot(*look))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_UNLIT, outline=_EDGE)
    if moved > 0:
        x, y = x + 0.6 * radius * look[0] / moved, y - 0.6 * radius * look[1] / moved
    dot = 0.35 * radius
    draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=_LIT if moved > 0 else _EDGE)


def _ink(lit: bool) -> tuple[int, int, int, int]:
    return (20, 20, 20, 255) if lit else (255, 255, 255, 130)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
