// The keys on the screen: they light up with the input and can be held with mouse or finger.

import { element } from "./dom.js";
import { printedOn } from "./keyboard.js";

const MOVE = [[null], ["w", "KeyW", "Forward"], [null], ["a", "KeyA", "Left"], ["s", "KeyS", "Back"],
  ["d", "KeyD", "Right"], ["space", "Space", "Rise"]];
const LOOK = [[null], ["up", "▲", "Look up"], [null], ["left", "◀", "Turn left"], ["down", "▼", "Look down"],
  ["right", "▶", "Turn right"], ["ctrl", "Ctrl or C", "Sink"]];

/** Fill the two groups with keys that follow `input`; returns a function that lights other keys, for a replay. */
export function showKeys(moveGroup, lookGroup, input) {
  const shown = new Map();
  const add = (group, [key, face, name]) => {
    if (!key) {
      group.append(element("span", { className: "key blank" }));
      return;
    }
    const button = element("button", {
      type: "button",
      className: key === "space" || key === "ctrl" ? "key wide" : "key",
      textContent: face,
      attributes: { "aria-label": name, "aria-pressed": "false", "data-key-name": key },
    });
    holdable(button, (down) => input.press("screen", key, down));
    if (face.startsWith("Key")) printedOn(face).then((letter) => (button.textContent = letter));
    shown.set(key, button);
    group.append(button);
  };
  for (const key of MOVE) add(moveGroup, key);
  for (const key of LOOK) add(lookGroup, key);

  const light = (keys) => {
    for (const [key, button] of shown) {
      button.classList.toggle("down", keys.includes(key));
      button.setAttribute("aria-pressed", keys.includes(key));
    }
  };
  input.addEventListener("change", () => light(input.keys));
  return light;
}

function holdable(button, tell) {
  button.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // keeps the focus where it is, so that the keyboard still plays
    button.setPointerCapture(event.pointerId);
    tell(true);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => tell(false));
  button.addEventListener("keydown", (event) => event.code === "Space" && tell(true));
  button.addEventListener("keyup", (event) => event.code === "Space" && tell(false));
  button.addEventListener("blur", () => tell(false));
}
