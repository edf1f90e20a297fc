// What stands before the play: loading, the line of waiting players, a lost connection.

import { byId } from "./dom.js";

/** Show a panel; `fraction` is 0 to 1, or null while nobody knows how long it takes; `action` {name, run} is a button. */
export function showCover(title, text, fraction = null, action = null) {
  byId("cover-title").textContent = title;
  byId("cover-text").textContent = text;
  const bar = byId("cover-progress");
  if (fraction === null) bar.removeAttribute("value");
  else bar.value = fraction;
  bar.hidden = action !== null;
  byId("cover-action").hidden = action === null;
  byId("cover-action").textContent = action?.name ?? "";
  byId("cover-action").onclick = action?.run ?? null;
  byId("cover").hidden = false;
}

export function hideCover() {
  byId("cover").hidden = true;
}

/** One line at the top that stays until it is taken away with an empty text. */
export function showBanner(text) {
  byId("banner").textContent = text;
  byId("banner").hidden = !text;
}
