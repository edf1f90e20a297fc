"""The parts of the server, each alone: input, pace, queues, turns, places, limits, messages."""

import asyncio
import contextlib
import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.controls import MAX_LOOK, Key
from gamecraft.errors import InputError
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.encoding import decode_upload, encode_picture
from gamecraft.serving.frames import FRAME_HEADER, Frame, FrameFlag, PictureFormat
from gamecraft.serving.input_track import InputTrack
from gamecraft.serving.lobby import FullError, Lobby
from gamecraft.serving.messages import Input, Pong, parse_client_message
from gamecraft.serving.outbox import Outbox
from gamecraft.serving.pace import Pace
from gamecraft.serving.rate import RateLimit, RateLimits
from gamecraft.serving.worker import ModelWorker

# --- input -----------------------------------------------------------------------------------------------------------

FPS, FRAMES = 10, 5


def track(*inputs: tuple[float, str, tuple[float, float]]) -> InputTrack:
    made = InputTrack(FPS, now=0.0)
    for seq, (milliseconds, keys, look) in enumerate(inputs, start=1):
        message = Input(seq=seq, time=milliseconds, keys=[Key(key) for key in keys], look=look)
        made.add(message, now=milliseconds / 1000)
    return made


STILL = (0.0, 0.0)


def test_the_newest_input_counts_for_the_whole_chunk() -> None:
    sample = track((0, "w", STILL), (100, "wd", STILL), (200, "d", STILL)).take(FRAMES, now=0.3)
    assert all(Key.D in action.keys for action in sample.actions)
    assert sample.seq == 3
    assert sample.arrived == 0.0  # the oldest that is now taken into account


def test_a_tap_between_chunks_counts_as_long_as_it_was_held() -> None:
    sample = track((0, "w", STILL), (310, "", STILL), (320, "a", STILL), (321, "", STILL)).take(FRAMES, now=0.4)
    assert [Key.W in action.keys for action in sample.actions] == [True] * 3 + [False] * 2
    assert [Key.A in action.keys for action in sample.actions] == [True] + [False] * 4


def test_a_key_that_was_held_for_chunks_adds_nothing_when_it_is_let_go() -> None:
    played = track((0, "w", STILL))
    played.take(FRAMES, now=0.1)
    played.add(Input(seq=2, time=150, keys=[]), now=0.15)
    assert not any(action.keys for action in played.take(FRAMES, now=0.2).actions)


@given(st.lists(st.tuples(st.floats(-MAX_LOOK, MAX_LOOK), st.floats(-MAX_LOOK, MAX_LOOK)), max_size=FRAMES))
def test_no_mouse_motion_is_lost_or_counted_twice(looks: list[tuple[float, float]]) -> None:
    moved = track(*[(i, "", look) for i, look in enumerate(looks)])
    turned = np.sum([action.look for action in moved.take(FRAMES, now=1).actions], axis=0)
    assert turned == pytest.approx(np.sum([STILL, *looks], axis=0), abs=1e-9)
    assert {action.look for action in moved.take(FRAMES, now=2).actions} == {STILL}


def test_old_inputs_and_clocks_that_go_back_do_no_harm() -> None:
    played = track((500, "w", STILL))
    assert not played.add(Input(seq=1, time=900, keys=[Key.S]), now=1.0)
    played.add(Input(seq=2, time=100, keys=[]), now=1.0)
    assert [Key.W in action.keys for action in played.take(FRAMES, now=1.1).actions] == [True] + [False] * 4


def test_a_held_key_is_activity_and_silence_is_not() -> None:
    played = track((0, "w", STILL))
    played.take(FRAMES, now=50.0)
    assert played.active == 50.0
    played.add(Input(seq=2, time=60_000, keys=[]), now=60.0)
    played.take(FRAMES, now=90.0)
    assert played.active == 60.0


# --- pace ------------------------------------------------------------------------------------------------------------


def test_fast_chunks_are_shown_at_the_pace_of_the_video_and_begun_just_in_time() -> None:
    pace, now = Pace(FPS, FRAMES), 10.0
    shown = []
    for _ in range(5):
        start, interval = pace.made(0.1, now)
        shown += [start + i * interval for i in range(FRAMES)]
        assert start <= pace.begin <= pace.end - 0.1
        now = pace.begin + 0.1
        assert now <= pace.end  # in time
    assert np.diff(shown) == pytest.approx(1 / FPS)


def test_slow_chunks_are_shown_evenly_with_at_most_one_chunk_of_lead() -> None:
    pace, now = Pace(FPS, FRAMES), 10.0
    shown = []
    for _ in range(5):
        start, interval = pace.made(2.0, now)
        shown += [start + i * interval for i in range(FRAMES)]
        assert pace.begin == start  # not before it is shown
        now = pace.begin + 2.0
    assert np.diff(shown) == pytest.approx(2.0 / FRAMES)


def test_what_follows_a_chunk_slows_the_show_down_but_does_not_have_the_next_one_begun_earlier() -> None:
    pace, same = Pace(FPS, FRAMES), Pace(FPS, FRAMES)
    _, interval = pace.made(0.1, 10.0, after=1.0)
    same.made(0.1, 10.0)
    assert interval == pytest.approx(1.1 / FRAMES)
    assert pace.end - pace.begin == pytest.approx(same.end - same.begin)


def test_a_single_chunk_is_shown_at_the_pace_of_the_video() -> None:
    assert Pace(FPS, FRAMES).made(8.0, 10.0, alone=True) == (10.0, 1 / FPS)


def test_after_a_jump_the_next_chunk_is_shown_at_once() -> None:
    pace = Pace(FPS, FRAMES)
    pace.made(0.1, 10.0)
    pace.jump()
    assert pace.made(0.1, 10.1)[0] == 10.1


# --- frames and pictures ---------------------------------------------------------------------------------------------


NO_FLAGS = FrameFlag(0)


def frame(number: int, generation: int = 1, flags: FrameFlag = NO_FLAGS) -> Frame:
    return Frame(
        format=PictureFormat.JPEG,
        flags=flags,
        generation=generation,
        chunk=number // FRAMES,
        frame=number,
        input=7,
        time=2**32 - 1,
        width=48,
        height=32,
        picture=b"picture",
    )


def test_a_frame_survives_its_message() -> None:
    assert Frame.unpack(frame(12, flags=FrameFlag.LAST | FrameFlag.REPLAY).pack()) == frame(
        12, flags=FrameFlag.LAST | FrameFlag.REPLAY
    )
    assert FRAME_HEADER.size == 28


@given(st.binary(max_size=64))
def test_other_bytes_are_no_frame(content: bytes) -> None:
    try:
        assert Frame.unpack(content).pack() == content
    except InputError:
        assert len(content) < FRAME_HEADER.size or content[:1] != b"\1" or content[1:2] not in (b"\1", b"\2", b"\3")


@pytest.mark.parametrize("form", [PictureFormat.JPEG, PictureFormat.WEBP])
def test_pictures_are_sent_nearly_as_they_are(form: PictureFormat) -> None:
    smooth = np.linspace(0, 255, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)
    content = encode_picture(smooth, form, 90)
    again = decode_upload(content, max_pixels=10_000, height=32, width=48)
    assert np.abs(again.astype(int) - smooth).mean() < 4


# --- outbox ----------------------------------------------------------------------------------------------------------


def drained(outbox: Outbox) -> list[Any]:
    outbox.close(1000)

    async def drain() -> list[Any]:
        items = [await outbox.get()]
        while items[-1] != 1000:
            items.append(await outbox.get())
        return [item.frame if isinstance(item, Frame) else item for item in items[:-1]]

    return asyncio.run(drain())


def pong(time: float) -> Pong:
    return Pong(time=time, server_time=0)


def test_the_oldest_frames_are_dropped_and_no_text() -> None:
    outbox = Outbox(max_frames=3, window=100)
    for i in range(6):
        outbox.put(pong(i))
        outbox.put_frame(frame(i))
    items = drained(outbox)
    assert [item for item in items if isinstance(item, int)] == [3, 4, 5]
    assert len(items) == 9
    assert outbox.dropped == 3
    assert items[-2:] == [pong(5).model_dump_json(), 5]  # in the order in which they were put


def test_a_new_generation_takes_back_what_was_not_sent() -> None:
    outbox = Outbox(max_frames=3, window=100)
    outbox.put_frame(frame(1))
    outbox.drop_frames()
    outbox.put_frame(frame(2, generation=2))
    assert drained(outbox) == [2]


def test_a_client_that_reports_gets_no_more_than_its_window() -> None:
    outbox = Outbox(max_frames=10, window=2)
    outbox.seen(0, 0)
    for i in range(5):
        outbox.put_frame(frame(i))

    async def take(count: int) -> list[int]:
        return [(await outbox.get()).frame for _ in range(count)]  # type: ignore[union-attr]

    assert asyncio.run(take(2)) == [0, 1]
    outbox.put(pong(1))
    assert drained(outbox) == [pong(1).model_dump_json()]  # text is not held up
    outbox.seen(1, 0)
    assert asyncio.run(take(1)) == [2]


def test_a_client_that_never_reads_is_closed() -> None:
    outbox = Outbox(max_frames=1, window=1)
    for i in range(5000):
        outbox.put(pong(i))
    assert asyncio.run(_only(outbox)) == 1013


async def _only(outbox: Outbox) -> Any:
    while not isinstance(item := await outbox.get(), int):
        pass
    return item


# --- turns and places ------------------------------------------------------------------------------------------------


def test_owners_take_turns_in_one_thread() -> None:
    async def run() -> tuple[list[str], set[int]]:
        worker, order, threads = ModelWorker(), [], set()
        gate = threading.Event()

        def work(name: str) -> None:
            order.append(name)
            threads.add(threading.get_ident())

        first = asyncio.create_task(worker.run("z", lambda: gate.wait(10)))
        await asyncio.sleep(0)
        turns = [worker.run(name[0], lambda name=name: work(name)) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
        rest = asyncio.gather(*turns)
        await asyncio.sleep(0)
        gate.set()
        await first
        await rest
        worker.close()
        return order, threads

    order, threads = asyncio.run(run())
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(threads) == 1


def test_errors_come_back_and_cancelled_turns_are_left_out() -> None:
    async def run() -> list[str]:
        worker, done, gate = ModelWorker(), [], threading.Event()
        first = asyncio.create_task(worker.run("a", lambda: gate.wait(10)))
        second = asyncio.create_task(worker.run("a", lambda: done.append("cancelled")))
        third = asyncio.create_task(worker.run("a", lambda: done.append("done")))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await asyncio.gather(first, second, third, return_exceptions=True)
        with pytest.raises(ZeroDivisionError):
            await worker.run("a", lambda: 1 / 0)
        worker.close()
        return done

    assert asyncio.run(run()) == ["done"]


def test_places_are_given_in_the_order_of_the_line() -> None:
    async def run() -> list[str]:
        lobby, told, let_in = Lobby(1, 2), [], asyncio.Event()

        async def come(name: str, stay: asyncio.Event) -> None:
            async with lobby.place(lambda position, waiting: told.append(f"{name} {position}/{waiting}")):
                told.append(f"{name} in")
                await stay.wait()

        stays = {name: asyncio.Event() for name in "abc"}
        tasks = {}
        for name in "abc":
            tasks[name] = asyncio.create_task(come(name, stays[name]))
            await asyncio.sleep(0)
        with pytest.raises(FullError, match="try again later"):
            await come("d", let_in)
        tasks["b"].cancel()  # leaves the line
        await asyncio.sleep(0)
        stays["a"].set()
        await tasks["a"]
        stays["c"].set()
        await tasks["c"]
        assert (lobby.playing, lobby.waiting) == (0, 0)
        return told

    assert asyncio.run(run()) == ["a in", "b 1/1", "c 2/2", "c 1/1", "c in"]


def test_rate_limits_allow_bursts_and_then_their_rate() -> None:
    now = [0.0]
    limit = RateLimit(10, 5, lambda: now[0])
    assert [limit.allow() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] = 0.25
    assert [limit.allow() for _ in range(3)] == [True, True, False]
    limits = RateLimits(1, 1, lambda: now[0])
    assert [limits.allow(client) for client in ("a", "a", "b")] == [True, False, True]


# --- settings and messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_others_are_not_let_in_without_a_token(host: str) -> None:
    with pytest.raises(InputError, match="give a token"):
        ServerConfig(host=host)
    with pytest.raises(InputError, match="at least 16"):
        ServerConfig(host=host, token="secret")
    assert "long enough" not in repr(ServerConfig(host=host, token="long enough to be used"))


def test_an_origin_is_an_address() -> None:
    with pytest.raises(InputError, match="is no origin"):
        ServerConfig(origins=("play.example.org",))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert ServerConfig(host=host).token is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ["id", "seq", "time", "keys", "look", "image", "seed", "chunks", "session", "version", "prompt", "name"]
TYPES = ["hello", "start", "resume", "input", "rewind", "seed", "speed", "save", "seen", "ping", "replay"]


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_garbage_is_one_line(text: str | bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_client_message(text)
    assert "\n" not in str(caught.value)


@given(st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(FIELDS, JSON)))
def test_messages_are_valid_or_refused_in_one_line(values: dict[str, Any]) -> None:
    try:
        message = parse_client_message(json.dumps(values))
    except InputError as error:
        line = str(error)
    else:
        line = ""
        assert parse_client_message(message.model_dump_json()) == message
    assert "\n" not in line
    assert len(line) <= 300


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "start", "image": {}}',
        '{"type": "start", "image": {"gallery": "../../etc/passwd"}}',
        '{"type": "start", "image": {"gallery": "village", "upload": "AAAAAAAAAAAAAAAAAAAAAA"}}',
        '{"type": "resume", "session": "../AAAAAAAAAAAAAAAAAAAAAA"}',
        '{"type": "input", "seq": 0, "time": 0}',
        '{"type": "input", "seq": 1, "time": NaN}',
        '{"type": "input", "seq": 1, "time": 0, "keys": ["w"], "more": 1}',
        '{"type": "input", "seq": 1, "time": 0, "look": [4, 0]}',
        '{"type": "seed", "seed": 9007199254740992}',
        '{"type": "rewind", "chunks": -1}',
        '{"type": "rewind", "chunks": true}',
        "[" * 60_000,
        '{"type": "prompt", "prompt": "' + "x" * 70_000 + '"}',
    ],
)
def test_what_is_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_client_message(text)


def test_uploads_are_checked_before_they_are_decoded() -> None:
    picture = encode_picture(np.zeros((100, 100, 3), np.uint8), PictureFormat.JPEG, 50)
    with pytest.raises(InputError, match="10000 pixels, expected at most 9999"):
        decode_upload(picture, max_pixels=9999, height=32, width=48)
    for content in (b"", b"GIF89a" + bytes(100), picture[:20], b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        with pytest.raises(InputError, match="not a PNG, JPEG or WebP"):
            decode_upload(content, max_pixels=10_000, height=32, width=48)


@given(st.data())
def test_damaged_pictures_are_refused_or_decoded(data: st.DataObject) -> None:
    content = bytearray(encode_picture(np.zeros((20, 30, 3), np.uint8), PictureFormat.JPEG, 50))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert decode_upload(bytes(content), max_pixels=10_000, height=32, width=48).shape == (32, 48, 3)
