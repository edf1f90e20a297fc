"""Renders a `Scene` with Panda3D's software renderer: no display, no GPU, the same picture everywhere.

The frame is drawn at twice the size and averaged down, because hard polygon edges neither compress nor look well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gamecraft.intrinsics import Intrinsics
from gamecraft.worlds.mesh import Array
from gamecraft.worlds.scene import Scene

__all__ = ["Renderer"]

_SUPERSAMPLE = 2
OPENCV_TO_SCENE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@cache
def _engine() -> tuple[Any, Any]:
    """Panda3D's global engine and its software pipe, one per process."""
    from panda3d import core

    core.load_prc_file_data(
        "",
        "window-type offscreen\nload-display p3tinydisplay\naux-display\naudio-library-name null\n"
        "notify-level-x11display fatal\nnotify-level-tinydisplay fatal\ngarbage-collect-states 0",
    )
    engine = core.GraphicsEngine.get_global_ptr()
    return engine, core.GraphicsPipeSelection.get_global_ptr().make_default_pipe()


def _geometry(tris: Array, colours: Array, name: str) -> Any:
    """A node of flat-coloured triangles [n, 3, 3] with colours per face [n, 3] or per corner [n, 3, 3], in 0..1."""
    from panda3d import core

    corners = np.zeros((len(tris) * 3,), dtype=[("v", "<f4", 3), ("c", "u1", 4)])
    corners["v"] = tris.reshape(-1, 3)
    per_corner = colours[:, None].repeat(3, 1) if colours.ndim == 2 else colours
    corners["c"][:, :3] = np.round(per_corner.reshape(-1, 3) * 255)
    corners["c"][:, 3] = 255
    data = core.GeomVertexData(name, core.GeomVertexFormat.get_v3c4(), core.Geom.UH_static)
    data.unclean_set_num_rows(len(corners))
    data.modify_array_handle(0).copy_data_from(corners.tobytes())
    primitive = core.GeomTriangles(core.Geom.UH_static)
    primitive.add_next_vertices(len(corners))
    geom = core.Geom(data)
    geom.add_primitive(primitive)
    node = core.GeomNode(name)
    node.add_geom(geom)
    return node


def _sky_dome(scene: Scene) -> tuple[Array, Array]:
    """A dome around the camera whose colour runs smoothly from the horizon to the zenith."""
    air = scene.atmosphere
    elevation = np.radians([-20.0, 2.0, 14.0, 34.0, 89.9])
    share = np.array([0.0, 0.0, 0.45, 0.8, 1.0])
    ring_colours = np.asarray(air.horizon) + share[:, None] * (np.asarray(air.zenith) - np.asarray(air.horizon))
    angle = np.linspace(0, 2 * np.pi, 17)
    flat, height = np.cos(elevation), np.sin(elevation)
    grid = np.stack([np.outer(flat, np.cos(angle)), np.outer(flat, np.sin(angle)), np.outer(height, np.ones(17))], -1)
    tris, colours = [], []
    for i in range(len(elevation) - 1):
        for j in range(16):
            a, b, c, d = grid[i, j], grid[i, j + 1], grid[i + 1, j + 1], grid[i + 1, j]
            tris += [[a, c, b], [a, d, c]]
            low, high = ring_colours[i], ring_colours[i + 1]
            colours += [[low, high, low], [low, high, high]]
    return np.array(tris) * 120.0, np.array(colours)


class Renderer:
    """Draws one scene at a time; `show` swaps scenes, `render` takes a camera pose and a frame index."""

    def __init__(self, height: int = 96, width: int = 160, intrinsics: Intrinsics | None = None) -> None:
        from panda3d import core

        intrinsics = intrinsics or Intrinsics()
        self.height, self.width = height, width
        engine, pipe = _engine()
        self._engine = engine
        frame_buffer = core.FrameBufferProperties()
        frame_buffer.set_rgb_color(True)
        frame_buffer.set_depth_bits(24)
        size = core.WindowProperties.size(width * _SUPERSAMPLE, height * _SUPERSAMPLE)
        self._buffer = engine.make_output(pipe, "frames", 0, frame_buffer, size, core.GraphicsPipe.BF_refuse_window)
        self._texture = core.Texture()
        self._buffer.add_render_texture(self._texture, core.GraphicsOutput.RTM_copy_ram)
        lens = core.PerspectiveLens()
        # The image plane in units of the focal length; the principal point is the centre, as in every world here.
        lens.set_fov(*np.degrees(2 * np.arctan(0.5 / np.array([intrinsics.fx, intrinsics.fy]))))
        lens.set_near_far(0.15, 250.0)
        self._camera = core.NodePath(core.Camera("camera", lens))
        self._buffer.make_display_region().set_camera(self._camera)
        self._root = core.NodePath("nothing")
        self._movers: list[Any] = []
        self._scene: Scene | None = None

    def show(self, scene: Scene) -> None:
        """Replace the scene that is drawn."""
        from panda3d import core

        self._root.remove_node()
        self._root = core.NodePath("scene")
        air = scene.atmosphere
        static = self._root.attach_new_node(_geometry(*scene.static.bake(air.light), "static"))
        fog = core.Fog("fog")
        fog.set_color(*air.horizon)
        fog.set_linear_range(air.fog_start, air.fog_end)
        # Linear fog starts from where its node is: it has to travel with the camera.
        self._camera.node().remove_all_children()
        self._camera.attach_new_node(fog)
        static.set_fog(fog)
        self._sky = self._root.attach_new_node(_geometry(*_sky_dome(scene), "sky"))
        self._sky.set_bin("background", 0)
        self._sky.set_depth_write(False)
        self._sky.set_depth_test(False)
        self._movers = []
        for mover in scene.movers:
            node = self._root.attach_new_node(_geometry(*mover.mesh.bake(air.light), "mover"))
            # Things high in the sky are not fogged: clouds would vanish.
            if mover.position[2] < 15:
                node.set_fog(fog)
            self._movers.append(node)
        self._camera.reparent_to(self._root)
        self._buffer.set_clear_color((*air.horizon, 1))
        self._scene = scene

    def render(self, pose: NDArray[np.float64], frame: float = 0.0) -> NDArray[np.uint8]:
        """The picture [H, W, 3] from camera-to-world `pose` [4, 4] (OpenCV, metres) at a frame index."""
        import cv2
        from panda3d import core

        if self._scene is None:
            raise RuntimeError("show a scene first")
        rotation = OPENCV_TO_SCENE @ pose[:3, :3]
        position = OPENCV_TO_SCENE @ pose[:3, 3]
        matrix = np.eye(4)
        matrix[:3] = np.concatenate([np.stack([rotation[:, 0], rotation[:, 2], -rotation[:, 1]]), np.zeros((3, 1))], 1)
        matrix[3, :3] = position
        self._camera.set_mat(core.LMatrix4(*matrix.reshape(-1).tolist()))
        self._sky.set_pos(*position.tolist())
        for mover, node in zip(self._scene.movers, self._movers, strict=True):
            at, angle = mover.at(frame)
            node.set_pos(*at.tolist())
            degrees = float(np.degrees(angle))
            node.set_hpr(
                float(np.degrees(mover.yaw)) + (degrees if mover.axis == "z" else 0.0),
                0,
                degrees if mover.axis == "y" else 0.0,
            )
        self._engine.render_frame()
        raw = np.frombuffer(self._texture.get_ram_image(), np.uint8)
        raw = raw.reshape(self.height * _SUPERSAMPLE, self.width * _SUPERSAMPLE, 4)
        averaged = cv2.resize(raw, (self.width, self.height), interpolation=cv2.INTER_AREA)
        picture: NDArray[np.uint8] = np.ascontiguousarray(averaged[::-1, :, 2::-1])  # bottom-up BGRA
        return picture

    def close(self) -> None:
        """Free the off-screen buffer."""
        self._engine.remove_window(self._buffer)
