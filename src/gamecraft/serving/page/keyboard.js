// The keyboard. Game keys go by their place on the board, so that WASD lies under the same fingers on every layout;
// commands go by the letter printed on the key.

import { isTyping } from "./dom.js";

const BY_PLACE = {
  KeyW: "w", KeyA: "a", KeyS: "s", KeyD: "d", Space: "space",
  ControlLeft: "ctrl", ControlRight: "ctrl",
  KeyC: "ctrl", // Ctrl+W closes the tab and no page may prevent it
  ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right",
};

/**
 * @param input receives the game keys.
 * @param commands printed key -> function, for everything else.
 * @param isActive whether a play is on the screen.
 */
export function listenToKeyboard(input, commands, isActive) {
  const down = new Set(); // places, since two of them can mean the same key
  const tell = () => input.hold("keyboard", [...down].map((place) => BY_PLACE[place]));

  window.addEventListener("keydown", (event) => {
    if (!isActive() || isTyping(event)) return;
    const onButton = event.target.closest?.("button") && event.code === "Space";
    if (event.code in BY_PLACE && !onButton && !event.metaKey && !event.altKey) {
      event.preventDefault(); // Space and arrows would scroll, Ctrl+S would save the page
      down.add(event.code);
      tell();
      return;
    }
    const command = commands[commandName(event)];
    if (!command || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && event.target.closest?.("button, [role=radio]")) return;
    event.preventDefault();
    command();
  });
  window.addEventListener("keyup", (event) => {
    if (down.delete(event.code)) tell();
  });
  const release = () => {
    down.clear();
    input.release(); // key-up events went elsewhere; held keys would never end
  };
  window.addEventListener("blur", release);
  document.addEventListener("visibilitychange", () => document.hidden && release());
  document.addEventListener("focusin", (event) => isTyping(event) && release());
}

function commandName({ key, shiftKey }) {
  if (!/^[a-z]$/i.test(key)) return key; // signs may need Shift, depending on the layout
  return (shiftKey ? "Shift+" : "") + key.toLowerCase();
}

/** What is printed on the key at a place, where the browser knows the layout: "Z" for KeyW in France. */
export async function printedOn(place) {
  const layout = await navigator.keyboard?.getLayoutMap?.().catch(() => null);
  return (layout?.get(place) ?? place.replace("Key", "")).toUpperCase();
}
