"""Camera paths from pictures, and actions from camera paths."""

import math

import numpy as np
import pytest

from gamecraft.actions import actions_from_json, motion, parse_script
from gamecraft.curation.certainty import certainty, pose_deviation, turn_deviation
from gamecraft.curation.pose_actions import actions_from_poses, motion_from_poses, replay_error
from gamecraft.curation.resection import resect
from gamecraft.curation.tracks import Sighting
from gamecraft.curation.upright import motion_scale, roll_degrees, upright, without_roll
from gamecraft.trajectory import CameraState, integrate, relative_to


def walk(script: str, start: CameraState | None = None) -> np.ndarray:
    """Poses [F, 4, 4] of a walk, the start included."""
    start = start or CameraState()
    poses, _ = integrate(motion(parse_script(script)), start)
    return np.concatenate([start.pose()[None], poses])


WALK = walk("w 12f, w+d+right 20f, look:up 20deg over 10f, s+left 15f, space 5f, idle 5f")


def random_world(seed: int, scale: float = 1.0) -> np.ndarray:
    """A change of world: any rotation and translation, [4, 4]."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    world = np.eye(4)
    world[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    world[:3, 3] = rng.normal(size=3) * 10
    return world


def test_motion_from_poses_is_the_inverse_of_walking() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (60, 5)) * (0.4, 0.1, 0.4, 0.3, 0.01)
    start = CameraState(position=(3.0, -1.0, 2.0), yaw=2.0, pitch=0.1)
    poses, _ = integrate(rows, start)
    np.testing.assert_allclose(motion_from_poses(np.concatenate([start.pose()[None], poses])), rows, atol=1e-9)


def test_what_keys_can_do_is_found_exactly() -> None:
    actions = actions_from_poses(WALK)
    assert len(actions) == len(WALK)
    assert replay_error(WALK, actions) < 1e-9
    assert actions[5].keys == {"w"}
    assert actions[20].keys == {"w", "d"}
    assert not actions[0].keys
    assert not actions[-1].keys


def test_other_directions_are_followed_nearly() -> None:
    angles = np.linspace(0, 2 * math.pi, 200)
    states = [CameraState(position=(5 * math.sin(a), 0.0, 5 * math.cos(a))) for a in angles]
    poses = np.stack([state.pose() for state in states])
    assert replay_error(poses, actions_from_poses(poses)) < 0.5  # of a path of 31 metres


@pytest.mark.parametrize("seed", range(4))
def test_a_walker_stands_upright_again(seed: int) -> None:
    found = upright(random_world(seed) @ WALK)
    np.testing.assert_allclose(found, relative_to(WALK, WALK[0]), atol=1e-6)
    assert roll_degrees(found) < 1e-4


def test_without_a_turn_the_cameras_are_level_on_average() -> None:
    straight = walk("w 20f")
    np.testing.assert_allclose(upright(random_world(1) @ straight), straight, atol=1e-6)


def test_roll_is_measured_and_removed() -> None:
    lean = math.radians(7)
    roll = np.eye(4)
    roll[:2, :2] = [[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]]
    leaning = WALK.copy()
    leaning[10] = leaning[10] @ roll
    # Where the camera looks up, a roll is a little less than seven degrees off the horizon.
    assert 6 < roll_degrees(leaning) < 7.01
    np.testing.assert_allclose(without_roll(leaning), WALK, atol=1e-9)


def test_the_typical_step_gets_the_default_speed() -> None:
    poses = WALK.copy()
    poses[:, :3, 3] *= 37.0
    assert motion_scale(poses) == pytest.approx(1 / 37, rel=1e-6)
    assert motion_scale(walk("left 20f")) == 1.0


def test_the_deviation_of_a_pose_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    points, focal = rng.uniform((-3, -2, 4), (3, 2, 12), (60, 3)), np.array([240.0, 200.0])

    def seen(change: np.ndarray) -> np.ndarray:
        """Pixels [2 N] after the points have turned and moved by six small numbers."""
        moved = points + np.cross(change[:3], points) + change[3:]
        return (moved[:, :2] / moved[:, 2:] * focal).T.reshape(-1)

    steps = 1e-6 * np.eye(6)
    slopes = np.stack([(seen(step) - seen(-step)) / 2e-6 for step in steps], axis=1)
    noise = rng.normal(scale=0.5, size=(len(slopes), 4000))
    turns = np.linalg.lstsq(slopes, noise, rcond=None)[0][:3]
    spread = float(np.sqrt(np.square(turns).sum(axis=0).mean()))
    assert pose_deviation(points, focal, 0.5) == pytest.approx(spread, rel=0.03)


def test_confidence_falls_where_turning_looks_like_moving() -> None:
    rng = np.random.default_rng(1)
    focal = np.full(2, 240.0)
    room = rng.uniform((-3, -2, 3), (3, 2, 12), (100, 3))
    patch = rng.uniform((-0.5, -0.5, 9.9), (0.5, 0.5, 10.1), (100, 3))
    deviations = [turn_deviation(100, focal, 0.5), *(pose_deviation(points, focal, 0.5) for points in (room, patch))]
    assert deviations == sorted(deviations)
    confidences = [certainty(deviation) for deviation in deviations]
    assert confidences[1] > 0.4
    assert confidences[2] < 0.2
    assert certainty(0.0) == 1.0


def test_known_points_place_a_frame() -> None:
    rng = np.random.default_rng(2)
    pose = walk("w+right 5f, look:up 10deg over 3f")[-1]
    points = rng.uniform((-3, -2, 4), (3, 2, 12), (80, 3)) @ pose[:3, :3].T + pose[:3, 3]
    focal, centre = np.full(2, 240.0), np.array([200.0, 112.5])
    own = (points - pose[:3, 3]) @ pose[:3, :3]
    places = own[:, :2] / own[:, 2:] * focal + centre - 0.5
    places[:8] += rng.uniform(-30, 30, (8, 2))  # tracked to somewhere else
    seen = Sighting(ids=np.arange(80), points=places.astype(np.float32))
    guess = pose @ CameraState(position=(0.1, -0.05, 0.1), yaw=0.03).pose()
    found = resect(guess, seen, dict(enumerate(points)), focal, centre)
    np.testing.assert_allclose(found, pose, atol=2e-3)
    assert resect(guess, seen, dict(enumerate(points[:14])), focal, centre) is guess
    points[0] = pose[:3, 3] - 2 * pose[:3, 2]  # a wrong point behind the camera
    np.testing.assert_allclose(resect(guess, seen, dict(enumerate(points)), focal, centre), pose, atol=2e-3)


class TestStructureFromMotion:
    """On a rendered world, whose camera is known."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("pycolmap")

    @staticmethod
    def render(script: str) -> tuple[list[np.ndarray], np.ndarray]:
        from gamecraft.intrinsics import Intrinsics
        from gamecraft.worlds.environment import EYE_HEIGHT, LowPolyWorld
        from gamecraft.worlds.renderer import Renderer

        lens = Intrinsics(fx=0.5, fy=0.5 * 320 / 192)
        world = LowPolyWorld(5, "village", renderer=Renderer(192, 320, intrinsics=lens))
        frames, poses = [world.reset(CameraState(position=(0.0, -EYE_HEIGHT, -6.0)))], [world.state.pose()]
        for row in motion(parse_script(script)):
            frames.append(world.move(row))
            poses.append(world.state.pose())
        return frames, np.stack(poses)

    def test_a_walk_is_recovered(self) -> None:
        from gamecraft.curation.sfm import estimate_path
        from gamecraft.intrinsics import Intrinsics

        frames, truth = self.render("w 16f, w+d 16f")
        path = estimate_path(frames, Intrinsics(fx=0.5, fy=0.5 * 320 / 192), stride=2)
        assert path is not None
        assert not path.turning
        assert path.frames.tolist() == list(range(33))
        found, true = upright(path.poses), relative_to(truth[path.frames], truth[0])
        found[:, :3, 3] *= np.linalg.norm(true[-1, :3, 3]) / np.linalg.norm(found[-1, :3, 3])
        np.testing.assert_allclose(found[:, :3, 3], true[:, :3, 3], atol=0.4)  # of 6.4 metres
        assert path.confidence > 0.2

    def test_turning_needs_no_structure(self) -> None:
        from gamecraft.curation.sfm import estimate_path
        from gamecraft.intrinsics import Intrinsics

        frames, truth = self.render("right 12f")
        path = estimate_path(frames, Intrinsics(fx=0.5, fy=0.5 * 320 / 192), stride=2)
        assert path is not None
        assert path.turning
        np.testing.assert_allclose(path.poses, relative_to(truth[path.frames], truth[0]), atol=0.01)


def test_an_input_log_survives_its_file(tmp_path) -> None:
    from gamecraft.curation.input_log import format_inputs, read_inputs

    actions = parse_script("w 5f, w+d 5f, idle 3f, look:right 30deg over 6f")
    (tmp_path / "a.csv").write_text(format_inputs(actions, 24))
    log = read_inputs(tmp_path / "a.csv")
    times = np.arange(len(actions)) / 24
    assert log.held(times) == [action.keys for action in actions]
    np.testing.assert_allclose(log.looked(times), [action.look for action in actions])


@pytest.mark.parametrize("line", ["0.1,keys,q", "x,keys,w", "0.1,look,1", "0.1,jump,1", "0.1,keys", "nan,keys,w"])
def test_bad_input_logs_name_the_line(tmp_path, line: str) -> None:
    from gamecraft.curation.input_log import read_inputs
    from gamecraft.errors import InputError

    (tmp_path / "a.csv").write_text(f"seconds,event,value\n0,keys,w\n{line}\n")
    with pytest.raises(InputError, match="line 3"):
        read_inputs(tmp_path / "a.csv")


def test_actions_survive_json() -> None:
    from gamecraft.actions import actions_to_json

    assert actions_from_json(actions_to_json(actions_from_poses(WALK))) == actions_from_poses(WALK)
