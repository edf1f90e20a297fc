// H.264 by WebCodecs, picture by picture: nothing is kept back, unlike in a <video> element.

import { KEY } from "./frames.js";

const CODEC = { codec: "avc1.42c02a", optimizeForLatency: true };

/** Whether this browser can; only pages from this machine or by https may. */
export async function canDecodeVideo() {
  try {
    return (await VideoDecoder.isConfigSupported({ ...CODEC, codedWidth: 1280, codedHeight: 720 })).supported === true;
  } catch {
    return false;
  }
}

/** Decodes frames in the order they come; after one that is missing, the next that can be decoded is a KEY. */
export class VideoPictures {
  #decoder = null;
  #next = null; // the number of the frame that can be decoded next
  #waiting = new Map(); // timestamp -> resolve
  #count = 0;

  /** A VideoFrame, or null if this one cannot be decoded. */
  decode(frame) {
    const follows = frame.flags & KEY || (this.#next !== null && frame.frame === this.#next);
    if (!follows) {
      this.#next = null;
      return Promise.resolve(null);
    }
    if (this.#decoder === null) this.#open();
    this.#next = frame.frame + 1;
    const timestamp = this.#count++;
    const type = frame.flags & KEY ? "key" : "delta";
    return new Promise((resolve) => {
      this.#waiting.set(timestamp, resolve);
      try {
        this.#decoder.decode(new EncodedVideoChunk({ type, timestamp, data: frame.bytes }));
      } catch {
        this.#failed();
      }
    });
  }

  #open() {
    this.#decoder = new VideoDecoder({
      output: (picture) => {
        const resolve = this.#waiting.get(picture.timestamp);
        this.#waiting.delete(picture.timestamp);
        if (resolve) resolve(picture);
        else picture.close();
      },
      error: () => this.#failed(),
    });
    this.#decoder.configure(CODEC);
  }

  #failed() {
    this.#decoder = null;
    this.#next = null;
    for (const resolve of this.#waiting.values()) resolve(null);
    this.#waiting.clear();
  }
}
