"""Low-poly worlds: the same seed gives the same pixels, the camera is exact, and walkers meet walls."""

import itertools

import numpy as np
import pytest

from gamecraft.actions import Action, Key, motion, parse_script
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState, integrate
from gamecraft.worlds.builder import PLAY_RADIUS, build_scene
from gamecraft.worlds.environment import LowPolyWorld
from gamecraft.worlds.mesh import Light, Mesh, blob, box, frustum, gable
from gamecraft.worlds.players import random_actions
from gamecraft.worlds.renderer import Renderer
from gamecraft.worlds.scene import Atmosphere, Scene
from gamecraft.worlds.themes import THEMES


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(48, 80)


@pytest.mark.parametrize("theme", THEMES)
def test_every_theme_builds_and_shows_something(theme: str, renderer: Renderer) -> None:
    world = LowPolyWorld(5, theme, renderer=renderer)
    frame = world.reset()
    assert frame.shape == (48, 80, 3)
    assert frame.std() > 5
    assert world.scene.description["theme"] == theme


def test_a_seed_decides_every_pixel(renderer: Renderer) -> None:
    frames = [LowPolyWorld(11, renderer=renderer).reset(frame=37) for _ in range(2)]
    np.testing.assert_array_equal(*frames)
    assert (frames[0] != LowPolyWorld(12, renderer=renderer).reset(frame=37)).any()


def test_unknown_theme_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="village"):
        build_scene(0, "moonbase")


def test_actions_move_the_world_as_they_move_the_model(renderer: Renderer) -> None:
    """The poses of a walk without obstacles are those that `trajectory.integrate` gives the model."""
    world = LowPolyWorld(3, "meadow", renderer=renderer)
    world.scene.obstacles.clear()
    world.reset()
    actions = parse_script("w 5f, d+right 5f, look:left 20deg over 5f, space 3f")
    poses, _ = integrate(motion(actions), world.state)
    for action, pose in zip(actions, poses, strict=True):
        world.step(action)
        assert not world.blocked
        np.testing.assert_allclose(world.state.pose(), pose, atol=1e-12)


def test_walkers_cannot_enter_obstacles_nor_leave_the_world(renderer: Renderer) -> None:
    world = LowPolyWorld(3, "meadow", renderer=renderer)
    world.scene.obstacles[:] = [(0.0, 3.0, 1.0)]
    world.reset()
    forward = motion([Action(keys=frozenset({Key.W}), move_speed=0.5)])[0]
    for _ in range(12):
        world.move(forward)
        x, _, z = world.state.position
        assert np.hypot(x, z - 3.0) >= 1.0
    assert world.blocked
    world.scene.obstacles.clear()
    for _ in range(100):
        world.move(forward)
    assert np.hypot(world.state.position[0], world.state.position[2]) <= PLAY_RADIUS + 1e-9


def test_spawn_is_free_and_seeded(renderer: Renderer) -> None:
    world = LowPolyWorld(21, "village", renderer=renderer)
    spots = [world.spawn(np.random.default_rng(4)) for _ in range(2)]
    assert spots[0] == spots[1]
    assert world.scene.free(spots[0].position[0], spots[0].position[2], 0.5)


def _one_box(colour: tuple[float, float, float], at: tuple[float, float, float]) -> Scene:
    light = Light(direction=(0, 0, 1), sun=(0, 0, 0), ambient=(1, 1, 1))
    air = Atmosphere(light=light, zenith=(0, 0, 0), horizon=(0, 0, 0), fog_start=100, fog_end=200)
    mesh = Mesh()
    mesh.add(box(0.2, 0.2, 0.2) - (0, 0, 0.1) + np.asarray(at), np.array(colour), glow=True)
    return Scene(seed=0, theme="box", description={}, atmosphere=air, static=mesh)


@pytest.mark.parametrize("yaw", [0.0, 0.3, -0.4])
@pytest.mark.parametrize("pitch", [0.0, 0.2, -0.25])
def test_the_renderer_is_the_pinhole_camera_of_the_rays(renderer: Renderer, yaw: float, pitch: float) -> None:
    """A small box appears where its centre projects to by pose and intrinsics (scene: x right, y forward, z up)."""
    lens = Intrinsics()
    at = np.array([0.5, 6.0, 0.4])
    renderer.show(_one_box((1, 1, 1), (at[0], at[1], at[2])))
    state = CameraState(position=(0.2, -0.1, 0.3), yaw=yaw, pitch=pitch)
    picture = renderer.render(state.pose()).astype(float).sum(-1)
    rows, columns = np.nonzero(picture > picture.max() / 2)
    point = np.linalg.inv(state.pose()) @ np.array([at[0], -at[2], at[1], 1.0])
    x = (lens.fx * point[0] / point[2] + lens.cx) * 80
    y = (lens.fy * point[1] / point[2] + lens.cy) * 48
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], [x, y], atol=0.6)


def test_moving_things_depend_on_the_frame_only(renderer: Renderer) -> None:
    world = LowPolyWorld(8, "harbour", renderer=renderer)
    still = [world.reset(frame=0), world.step(Action())]
    assert (still[0] != still[1]).any() or (world.reset(frame=50) != still[0]).any()
    np.testing.assert_array_equal(world.reset(frame=1), still[1])


@pytest.mark.parametrize("tris", [box(1, 2, 3), gable(1, 2, 1), frustum(1, 0.5, 2, 7), frustum(1, 0, 2, 5)])
def test_primitives_are_closed_after_orientation(tris: np.ndarray) -> None:
    """Outward faces of a closed surface have area vectors that cancel, apart from an open base."""
    mesh = Mesh()
    mesh.add(tris, np.ones(3))
    oriented = mesh.tris[0]
    area = np.cross(oriented[:, 1] - oriented[:, 0], oriented[:, 2] - oriented[:, 0]).sum(0)
    np.testing.assert_allclose(area[:2], 0, atol=1e-9)
    assert area[2] >= -1e-9


def test_blob_has_twenty_outward_faces() -> None:
    assert blob(1.0, np.random.default_rng(0)).shape == (20, 3, 3)


@pytest.mark.parametrize("longest", [5, 30, 90])
def test_keys_are_held_as_long_as_is_allowed(longest: int) -> None:
    actions = random_actions(3000, np.random.default_rng(0), longest)
    runs = [
        len(list(run)) for _, run in itertools.groupby(actions, key=lambda action: (action.keys, action.move_speed))
    ]
    assert max(runs) <= longest
    assert max(runs) > 0.8 * longest


def test_random_play_uses_the_whole_action_space_within_limits() -> None:
    actions = random_actions(4000, np.random.default_rng(0))
    assert len(actions) == 4000
    assert {key for action in actions for key in action.keys} == set(Key)
    assert any(action.look != (0.0, 0.0) for action in actions)
    pitch = np.cumsum(motion(actions)[:, 4])
    assert np.abs(pitch).max() < np.radians(60)
