// Two sticks for thumbs, and the same two on a gamepad. The left one presses movement keys, the right one turns.

const DEAD_ZONE = 0.28;
const HALF_HELD = 0.38; // of the stick's reach along an axis: a diagonal of 45 degrees holds both keys
const TURN_RATE = 1.9; // radians per second at full tilt

const PAD_BUTTONS = { 0: "space", 1: "ctrl", 4: "ctrl", 5: "space", 12: "up", 13: "down", 14: "left", 15: "right" };

/** The movement keys of a stick at x (right) and y (down), both -1 to 1. */
export function stickKeys(x, y) {
  if (Math.hypot(x, y) < DEAD_ZONE) return [];
  const keys = [];
  if (y < -HALF_HELD) keys.push("w");
  if (y > HALF_HELD) keys.push("s");
  if (x < -HALF_HELD) keys.push("a");
  if (x > HALF_HELD) keys.push("d");
  return keys;
}

/** Turning of a stick over some seconds: [yaw, pitch] radians; gentle near the middle. */
export function stickLook(x, y, seconds) {
  const reach = Math.hypot(x, y);
  if (reach < DEAD_ZONE) return [0, 0];
  const gain = TURN_RATE * seconds * reach;
  return [x * gain, -y * gain];
}

/** Follow the fingers on the two touch sticks and the first gamepad; `options` as for the mouse. */
export function listenToSticks(moveStick, lookStick, input, { sensitivity, inverted }) {
  const touch = { move: [0, 0], look: [0, 0] };
  followFinger(moveStick, (x, y) => {
    touch.move = [x, y];
    input.hold("touch", stickKeys(x, y));
  });
  followFinger(lookStick, (x, y) => (touch.look = [x, y]));
  window.addEventListener("touchstart", () => document.body.classList.add("touch"), { passive: true });

  let before = performance.now();
  const turn = ([x, y], seconds) => {
    const [yaw, pitch] = stickLook(x, y, seconds);
    input.look(yaw * sensitivity(), (inverted() ? -pitch : pitch) * sensitivity());
  };
  const frame = (now) => {
    const seconds = Math.min(0.1, (now - before) / 1000);
    before = now;
    turn(touch.look, seconds);
    const pad = navigator.getGamepads?.().find((candidate) => candidate?.connected);
    if (pad) {
      const buttons = Object.keys(PAD_BUTTONS).filter((index) => pad.buttons[index]?.pressed);
      input.hold("gamepad", [...stickKeys(pad.axes[0], pad.axes[1]), ...buttons.map((index) => PAD_BUTTONS[index])]);
      turn([pad.axes[2] ?? 0, pad.axes[3] ?? 0], seconds);
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.addEventListener("gamepaddisconnected", () => input.hold("gamepad", []));
}

function followFinger(stick, tell) {
  const knob = stick.firstElementChild;
  const move = (event) => {
    const box = stick.getBoundingClientRect();
    let x = ((event.clientX - box.left) / box.width) * 2 - 1;
    let y = ((event.clientY - box.top) / box.height) * 2 - 1;
    const reach = Math.max(1, Math.hypot(x, y));
    x /= reach;
    y /= reach;
    knob.style.transform = `translate(${(x * box.width) / 2}px, ${(y * box.height) / 2}px)`;
    tell(x, y);
  };
  const end = () => {
    knob.style.transform = "";
    tell(0, 0);
  };
  stick.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    stick.setPointerCapture(event.pointerId);
    move(event);
  });
  stick.addEventListener("pointermove", (event) => stick.hasPointerCapture(event.pointerId) && move(event));
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) stick.addEventListener(name, end);
}
