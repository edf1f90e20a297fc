// The numbers in the corner.

import { byId } from "./dom.js";

const REFRESH = 400; // milliseconds: numbers that change faster cannot be read

const duration = (ms) => (ms < 9995 ? `${Math.round(ms)} ms` : `${Math.round(ms / 1000)} s`);

/** Shows how the play runs; `read()` gives {framesPerSecond, latency, chunks, seed}. */
export class Hud {
  #read;

  constructor(read) {
    this.#read = read;
    setInterval(() => this.refresh(), REFRESH);
  }

  refresh() {
    if (document.body.dataset.screen !== "play") return;
    const { framesPerSecond, latency, chunks, seed } = this.#read();
    const set = (id, text) => byId(id).textContent !== text && (byId(id).textContent = text);
    set("hud-fps", framesPerSecond ? framesPerSecond.toFixed(framesPerSecond < 9.95 ? 1 : 0) : "–");
    set("hud-latency", latency === null ? "–" : duration(latency));
    set("hud-chunk", String(chunks));
    set("hud-seed", String(seed));
  }

  /** How far the next chunk is, 0 to 1. */
  progress(fraction) {
    const percent = Math.round(100 * fraction);
    byId("hud-meter").setAttribute("aria-valuenow", percent);
    byId("hud-meter").firstElementChild.style.width = `${percent}%`;
  }
}
