// The list of keys.

import { ask, byId, element } from "./dom.js";

const KEYS = [
  [["W", "A", "S", "D"], "walk"],
  [["mouse"], "look (click the picture; Esc ends it)"],
  [["←", "↑", "↓", "→"], "look"],
  [["Space"], "rise"],
  [["Ctrl", "C"], "sink"],
  [["P"], "pause and go on"],
  [["."], "play one chunk, then pause"],
  [["⌫"], "back one chunk"],
  [["B"], "branch off: a copy from here"],
  [["Shift+R"], "back to the start"],
  [["Enter"], "write another prompt"],
  [["N"], "another seed from here on"],
  [["V"], "record a video, or end it"],
  [["K"], "keep, share, watch again"],
  [["H"], "hide and show all but the world"],
  [["F"], "full screen"],
  [[","], "settings"],
  [["?"], "this list"],
];

/** Show all keys. */
export function showHelp() {
  const rows = KEYS.map(([keys, what]) =>
    element("div", {}, element("span", { textContent: what }), element("span", {}, ...keys.map(keyCap))));
  byId("help-keys").replaceChildren(...rows);
  return ask(byId("help"));
}

const keyCap = (name) => element("kbd", { textContent: name });
