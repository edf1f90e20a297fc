// The player's input on its way to the server, and how long it takes until it can be seen.

import { REPLAY, STILL } from "./frames.js";

const LOOK_EVERY = 33; // milliseconds: the mouse moves more often than a chunk can use
const LARGEST_LOOK = 3.1; // radians in one message, just below the protocol's limit

/** Sends `input` messages; `latency` is the last measured time from an input to the first picture it conditioned. */
export class Sender {
  #connection;
  #input;
  #seq = 0;
  #sent = new Map(); // seq -> milliseconds when it was sent, until a picture shows it
  #timer = null;
  #enabled = false;

  /** Milliseconds, or null while unknown. */
  latency = null;

  constructor(connection, input) {
    this.#connection = connection;
    this.#input = input;
    input.addEventListener("change", () => this.#send()); // at once: a tap must not be lost
    input.addEventListener("look", () => (this.#timer ??= setTimeout(() => this.#send(), LOOK_EVERY)));
  }

  /** Begin anew for a connection or a play: numbers start at 1 with a connection. */
  restart({ newConnection = false } = {}) {
    if (newConnection) this.#seq = 0;
    this.#sent.clear();
    this.latency = null;
  }

  /** Whether input goes to the server; what was held is let go there when it stops. */
  set enabled(enabled) {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#input.takeLook();
    if (enabled && this.#input.keys.length) this.#send();
  }

  /** A picture is on the screen. */
  shown(frame) {
    if (frame.flags & (STILL | REPLAY) || !frame.input) return;
    const waiting = [...this.#sent.keys()].filter((seq) => seq <= frame.input);
    if (!waiting.length) return;
    this.latency = performance.now() - this.#sent.get(waiting[0]); // of the input that waited longest
    for (const seq of waiting) this.#sent.delete(seq);
  }

  #send() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#enabled || !this.#connection.isOpen) return;
    const look = this.#input.takeLook().map((angle) => Math.max(-LARGEST_LOOK, Math.min(LARGEST_LOOK, angle)));
    const time = performance.now();
    this.#seq += 1;
    this.#sent.set(this.#seq, time);
    this.#connection.send({ type: "input", seq: this.#seq, time, keys: this.#input.keys, look });
  }
}
