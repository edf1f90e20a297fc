"""The scene memory: which views are drawn, what they show, and how it reaches the model and outlives a session."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gamecraft.actions import motion, parse_script
from gamecraft.errors import CheckpointError, InputError
from gamecraft.history import History, model_input, show_scene
from gamecraft.intrinsics import Intrinsics
from gamecraft.model_folder import check_model_folder
from gamecraft.models.depth import DepthEstimator
from gamecraft.models.refiner import FrameRefiner
from gamecraft.models.transformer import linear_velocity
from gamecraft.models.unet import convolve_squares
from gamecraft.pipeline import GameCraftPipeline
from gamecraft.scene import Scene, View, choose_views, draw_views, fill_gaps
from gamecraft.session import Session
from gamecraft.trajectory import integrate
from tiny import CHUNK, tiny_pipeline

LENS = Intrinsics()
HEIGHT, WIDTH = 32, 48
FULL_TURN = parse_script("right 180f")


def turned(frames: int) -> np.ndarray:
    """The pose after so many frames of turning right, 2 degrees each."""
    return np.eye(4) if frames == 0 else integrate(motion(FULL_TURN[:frames]))[0][-1]


def view(frames: int, value: float) -> View:
    return View(
        picture=torch.full((1, 3, HEIGHT, WIDTH), value),
        inverse_depth=torch.full((1, 1, HEIGHT, WIDTH), 0.1),
        pose=turned(frames),
    )


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_the_first_view_wins_and_the_others_fill_what_it_does_not_show() -> None:
    video, covered = draw_views([view(20, 0.5), view(0, -0.5)], turned(10)[None], LENS)
    assert bool(covered[..., HEIGHT // 2, :].all())  # at the corners, neither camera looked as far up or down
    row = video[0, 0, 0, HEIGHT // 2]
    assert row[0] == pytest.approx(-0.5, abs=1e-3)  # only the camera that looked further left shows this
    assert row[-1] == pytest.approx(0.5, abs=1e-3)
    assert row[WIDTH // 2] == pytest.approx(0.5, abs=1e-3)


def test_what_no_view_shows_is_filled_and_not_covered() -> None:
    video, covered = draw_views([view(0, 0.5)], turned(20)[None], LENS)
    share = float(covered.mean())
    assert 0.2 < share < 0.8
    torch.testing.assert_close(video, torch.full_like(video, 0.5), atol=1e-3, rtol=0)


def test_filling_keeps_what_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, 3, 20, 30, generator=generator)
    covered = (torch.rand(2, 1, 20, 30, generator=generator) > 0.7).float()
    filled = fill_gaps(pictures * covered, covered)
    torch.testing.assert_close(filled * covered, pictures * covered)
    assert filled.min() >= 0
    assert filled.max() <= 1


# --- choosing --------------------------------------------------------------------------------------------------------


def moved(frames: int, value: float) -> View:
    """After so many frames of walking ahead, 0.1 m each."""
    pose = np.eye(4)
    pose[2, 3] = frames / 10
    return dataclasses.replace(view(0, value), pose=pose)


def means(views: tuple[View, ...]) -> list[float]:
    return [round(float(one.picture.mean()), 3) for one in views]


def test_from_one_place_the_oldest_view_is_trusted_most_and_the_newest_is_always_there() -> None:
    looks = [view(20, 0.0), view(90, 0.1), view(160, 0.2), view(177, 0.3), view(179, 0.4)]
    assert means(choose_views(looks, turned(30)[None], LENS, 2)) == [0.0, 0.4]


def test_on_a_walk_the_nearest_view_is_trusted_most() -> None:
    looks = [moved(0, 0.0), moved(10, 0.1), moved(20, 0.2), moved(30, 0.3)]
    assert means(choose_views(looks, moved(32, 0.0).pose[None], LENS, 4)) == [0.3, 0.2, 0.1, 0.0]


def test_views_that_add_nothing_are_left_out() -> None:
    looks = [view(90, 0.1), view(0, 0.2), view(0, 0.3), view(0, 0.4)]
    assert means(choose_views(looks, turned(0)[None], LENS, 3)) == [0.2, 0.4]


def test_what_adds_most_is_chosen_last() -> None:
    looks = [moved(0, 0.0), view(90, 0.1), view(20, 0.2), moved(1, 0.3), moved(2, 0.4)]
    assert means(choose_views(looks, turned(10)[None], LENS, 3)) == [0.0, 0.2, 0.4]


# --- in the model ----------------------------------------------------------------------------------------------------


def test_the_scene_enters_condition_and_mask_of_the_chunk_alone() -> None:
    history = History(clips=(torch.ones(1, 2, 1, 3, 4),), poses=(np.eye(4)[None],))
    noisy = torch.randn(1, 2, 3, 3, 4)
    plain = model_input(noisy, history)
    scene = Scene(latents=torch.full_like(noisy, 0.3), coverage=torch.full((1, 1, 3, 3, 4), 0.7))
    shown = show_scene(plain, scene)
    assert torch.equal(shown[:, :, :1], plain[:, :, :1])
    assert torch.equal(shown[:, :2], plain[:, :2])
    assert torch.equal(shown[:, 2:4, 1:], scene.latents)
    assert torch.equal(shown[:, 4:, 1:], scene.coverage)
    with pytest.raises(InputError, match="does not fit"):
        show_scene(plain[:, :4], scene)


def test_a_scene_that_explains_everything_leaves_nothing_to_guess() -> None:
    clean, noise = torch.randn(2, 3, 2, 4, 4), torch.randn(2, 3, 2, 4, 4)
    sigma = torch.tensor([0.3, 0.9])
    level = sigma[:, None, None, None, None]
    noisy = (1 - level) * clean + level * noise
    guess = linear_velocity(noisy, torch.zeros_like(noisy), sigma, mean=clean, variance=1e-9)
    torch.testing.assert_close(guess, noise - clean, atol=1e-4, rtol=1e-4)


def test_the_residual_of_the_guess_has_variance_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, variance, count = 0.4, 0.3, (4, 8, 4, 16, 16)
    clean = mean + variance**0.5 * torch.randn(count, generator=generator)
    noise = torch.randn(count, generator=generator)
    for sigma in (0.1, 0.5, 0.95):
        level = torch.full((4,), sigma)
        noisy = (1 - sigma) * clean + sigma * noise
        guess = linear_velocity(noisy, torch.zeros(count), level, mean=mean, variance=variance)
        unit = linear_velocity(noisy, torch.ones(count), level, mean=mean, variance=variance) - guess
        assert float(((noise - clean - guess) / unit).std()) == pytest.approx(1, abs=0.02)


# --- in a play -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["as decoded", "refined"])
def seeing(request: pytest.FixtureRequest) -> GameCraftPipeline:
    torch.manual_seed(1)
    estimator = DepthEstimator(channels=(8, 8), blocks=(1, 1)).eval()
    refiner = trained_refiner() if request.param == "refined" else None
    return tiny_pipeline(depth_estimator=estimator, refiner=refiner, scene_views=2, remembered_views=3)


def trained_refiner() -> FrameRefiner:
    refiner = FrameRefiner(channels=(8, 8), blocks=(1, 1)).eval()
    torch.nn.init.normal_(refiner.conv_out.weight, std=0.1)
    return refiner


WALK = [parse_script(script) for script in ("w 5f", "left 5f", "d 5f", "s+right 5f", "w 5f")]


def test_what_was_seen_steers_what_comes(seeing: GameCraftPipeline, picture: np.ndarray) -> None:
    state = seeing.start_state(seeing.start_frames(image=picture))
    prompts = seeing.encode_prompts("", "", guided=False)
    poses = integrate(motion(WALK[0]))[0]
    blind = History(clips=state.history.clips, poses=state.history.poses)
    made = [
        seeing.generate_chunk(history, poses, prompts, generator=torch.Generator().manual_seed(0))
        for history in (state.history, state.history, blind)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])


def test_the_first_view_and_the_newest_ones_are_kept(seeing: GameCraftPipeline, picture: np.ndarray) -> None:
    session = Session(seeing)
    session.reset(picture)
    first = session._states[0].history.views[0]
    for actions in WALK:
        session.step(actions)
    views = session._states[-1].history.views
    assert len(views) == 3
    assert views[0] is first
    assert np.array_equal(views[-1].pose, session.poses[-1])
    assert np.array_equal(views[-2].pose, session.poses[-1 - CHUNK])


def test_an_untrained_refiner_changes_nothing() -> None:
    decoded, drawn = torch.rand(2, 3, 5, 16, 24), torch.rand(2, 3, 5, 16, 24)
    refiner = FrameRefiner(channels=(8, 8), blocks=(1, 1))
    assert torch.equal(refiner(decoded, drawn, torch.ones(2, 1, 5, 16, 24)), decoded)


def test_a_refiner_can_take_what_is_drawn_where_something_is() -> None:
    decoded, drawn = torch.rand(2, 3, 5, 16, 24), torch.rand(2, 3, 5, 16, 24)
    covered = (torch.rand(2, 1, 5, 16, 24) > 0.5).float()
    refiner = FrameRefiner(channels=(8, 8), blocks=(1, 1))
    torch.nn.init.constant_(refiner.conv_out.bias, 1.0)
    refined = refiner(decoded, drawn, covered)
    torch.testing.assert_close(refined, torch.where(covered > 0, drawn, decoded))


def test_frames_are_decoded_again_as_they_were_shown(seeing: GameCraftPipeline, picture: np.ndarray) -> None:
    session = Session(seeing)
    session.reset(picture)
    shown = [session.step(actions).frames for actions in WALK[:3]]
    assert all(np.array_equal(session.frames(index), frames) for index, frames in enumerate(shown))
    plain = seeing.to_frames(seeing.decode_latents(session.latents(0)))
    assert np.array_equal(plain, shown[0]) == (seeing.refiner is None)


@pytest.mark.parametrize("latents", [True, False])
def test_a_saved_play_goes_on_bit_for_bit(
    seeing: GameCraftPipeline, picture: np.ndarray, tmp_path: Path, latents: bool
) -> None:
    session = Session(seeing)
    session.reset(picture, seed=3)
    for actions in WALK[:3]:
        session.step(actions)
    session.save(tmp_path / "play", latents=latents)
    loaded, _ = Session.load(tmp_path / "play", seeing)
    assert torch.equal(session.step(WALK[3]).latents, loaded.step(WALK[3]).latents)


def test_guidance_leads_away_from_a_chunk_without_a_scene(seeing: GameCraftPipeline, picture: np.ndarray) -> None:
    frames = [
        seeing(image=picture, actions=WALK[0], guidance_scale=2.0, generator=torch.Generator().manual_seed(0)).frames[0]
    ]
    seeing.register_to_config(batch_guidance=False)
    frames.append(
        seeing(image=picture, actions=WALK[0], guidance_scale=2.0, generator=torch.Generator().manual_seed(0)).frames[0]
    )
    seeing.register_to_config(batch_guidance=True)
    assert np.abs(frames[0].astype(int) - frames[1].astype(int)).max() <= 1


def test_a_model_folder_keeps_its_memory(seeing: GameCraftPipeline, picture: np.ndarray, tmp_path: Path) -> None:
    seeing.save_pretrained(tmp_path / "model")
    again = GameCraftPipeline.from_pretrained(tmp_path / "model")
    assert again.config.scene_views == 2
    latents = [
        pipe(image=picture, actions=WALK[0], generator=torch.Generator().manual_seed(0), output_type="latent").frames[0]
        for pipe in (seeing, again)
    ]
    torch.testing.assert_close(latents[0], latents[1])
    check_model_folder(tmp_path / "model")
    next((tmp_path / "model" / "depth_estimator").glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="depth_estimator"):
        check_model_folder(tmp_path / "model")


@pytest.mark.parametrize(("side", "kernel"), [(2, 1), (2, 3), (4, 3)])
def test_squares_of_pixels_are_convolved_without_being_made(side: int, kernel: int) -> None:
    torch.manual_seed(0)
    pictures, layer = torch.randn(2, 3, 8, 16), nn.Conv2d(3 * side**2, 5, kernel, padding=kernel // 2)
    expected = layer(F.pixel_unshuffle(pictures, side))
    torch.testing.assert_close(convolve_squares(pictures, layer, side), expected, atol=1e-5, rtol=1e-5)
