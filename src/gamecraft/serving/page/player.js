// Pictures on the screen, in order, and none from before a jump.

import { STILL } from "./frames.js";
import { VideoPictures } from "./video.js";

const GLOW_INTERVAL = 250; // ms: blowing it up to the window costs a processor more than the picture itself

/** Draws frames into the world's canvas and its glow. Dispatches "shown" with the frame as `detail`. */
export class Player extends EventTarget {
  #canvas;
  #glow;
  #isCurrent;
  #video = new VideoPictures();
  #order = Promise.resolve();
  #times = [];
  #glowTime = -Infinity;

  /**
   * @param canvas takes each picture pixel by pixel; style scales it to the window.
   * @param glow a tiny canvas behind it, blown up to fill what the picture leaves of the window.
   * @param isCurrent generation -> whether its pictures may still be shown.
   */
  constructor(canvas, glow, isCurrent) {
    super();
    this.#canvas = canvas.getContext("2d");
    this.#glow = glow.getContext("2d");
    this.#isCurrent = isCurrent;
    addEventListener("resize", () => this.#paintGlow(this.#canvas.canvas));
  }

  /** Show a frame after those that came before it; decoding runs ahead. */
  show(frame) {
    const decoded = frame.type.startsWith("video") ? this.#video.decode(frame)
      : createImageBitmap(new Blob([frame.bytes], { type: frame.type })).catch(() => null); // a broken one is left out
    this.#order = this.#order.then(async () => this.#draw(frame, await decoded));
  }

  /** Show a picture from elsewhere, as the start picture while the server prepares. */
  preview(image) {
    if (image.naturalWidth) this.#paint(image, image.naturalWidth, image.naturalHeight); // otherwise not loaded yet
  }

  /** Pictures per second over the last second or so; 0 if none came. */
  get framesPerSecond() {
    const now = performance.now();
    this.#times = this.#times.filter((time) => now - time < 2000);
    if (this.#times.length < 2 || now - this.#times.at(-1) > 1000) return 0; // slow is not the same as standing still
    return ((this.#times.length - 1) * 1000) / (now - this.#times[0]);
  }

  #draw(frame, bitmap) {
    if (!bitmap) return;
    if (this.#isCurrent(frame.generation)) {
      this.#paint(bitmap, bitmap.displayWidth ?? bitmap.width, bitmap.displayHeight ?? bitmap.height);
      if (frame.flags & STILL) this.#times = [];
      else this.#times.push(performance.now());
      this.dispatchEvent(new CustomEvent("shown", { detail: frame }));
    }
    bitmap.close();
  }

  #paint(picture, width, height) {
    const { canvas } = this.#canvas;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.#canvas.drawImage(picture, 0, 0, width, height);
    if (performance.now() - this.#glowTime >= GLOW_INTERVAL) this.#paintGlow(canvas);
  }

  #paintGlow(canvas) {
    this.#glowTime = performance.now();
    const bare = Math.abs(innerWidth / innerHeight - canvas.width / canvas.height) * innerHeight; // pixels beside it
    const { canvas: glow } = this.#glow;
    glow.hidden = bare < 1;
    if (!glow.hidden) this.#glow.drawImage(canvas, 0, 0, glow.width, glow.height);
  }
}
