// The WebSocket: says hello, answers requests with promises, drops what is stale, and comes back after it was lost.

import { parseFrame } from "./frames.js";
import { canDecodeVideo } from "./video.js";

const VERSION = 1;
const FORMAT = canDecodeVideo().then((can) => (can ? "h264" : "jpeg")); // the server uses JPEG for small pictures anyway
const QUALITY = 95; // a small picture scaled up shows every artefact, and costs a few kilobytes
const WAITS = [300, 600, 1000, 2000, 4000, 5000]; // milliseconds before each attempt; the last one repeats
const FINAL = new Set([1008, 4001]); // refused, or the play is in another window: trying again would not help
const PING_EVERY = 2000;
const SILENCE = 9000; // without even a pong for so long, the connection is dead although nobody said so
const OF_THE_PLAY = new Set(["state", "chunk"]); // what a jump makes stale; progress may belong to loading

/** A request that the server refused: `code` is one of docs/protocol.md, "closed" if the connection was lost. */
export class RequestError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * Events, each with `detail`: "status" {status: connecting | open | waiting | ended, seconds?, error?}, one for every type
 * of text message, and "frame" for pictures.
 */
export class Connection extends EventTarget {
  #socket = null;
  #attempt = 0;
  #timer = null;
  #heartbeat = null;
  #heard = 0;
  #nextId = 1;
  #requests = new Map(); // id -> {resolve, reject}
  #fatal = null;

  #replicas = 1;

  /** Number of the newest jump of the play; older messages are stale. */
  generation = 0;
  /** The session that is played, or null: where several servers share an address, the one that keeps it is asked for. */
  session = null;
  /** Milliseconds to the server and back, or null. */
  roundTrip = null;

  constructor() {
    super();
    window.addEventListener("online", () => this.#timer !== null && this.open());
  }

  /** Connect now, also after the connection has ended for good. */
  open() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#socket?.close();
    const url = new URL("api/play", document.baseURI);
    if (this.session) url.searchParams.set("session", this.session);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.generation = 0;
    this.#fatal = null;
    this.#tell("status", { status: "connecting" });
    const current = (handle) => (event) => this.#socket === socket && handle(event);
    socket.onopen = current(() => this.#opened());
    socket.onmessage = current((event) => this.#received(event.data));
    socket.onclose = current((event) => this.#closed(event));
  }

  /** Be connected to the server that keeps a session. */
  async reach(session) {
    if (this.session === session) return;
    this.session = session;
    if (this.#replicas === 1) return;
    const welcomed = new Promise((resolve) => this.addEventListener("welcome", resolve, { once: true }));
    this.open();
    await welcomed;
  }

  /** Whether messages can be sent. */
  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Send a message that has no answer; without a connection it is lost, as a key press would be. */
  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  /** Send a request; resolves to its answer (`done` or `saved`), rejects with a RequestError. */
  request(message) {
    if (!this.isOpen) return Promise.reject(new RequestError("closed", "There is no connection to the server now."));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.send({ ...message, id });
    });
  }

  async #opened() {
    const socket = this.#socket;
    this.#heard = performance.now();
    const format = await FORMAT;
    if (this.#socket !== socket) return;
    this.send({ type: "hello", version: VERSION, format, quality: QUALITY });
    this.#heartbeat = setInterval(() => {
      if (performance.now() - this.#heard > SILENCE) this.#lost();
      else this.send({ type: "ping", time: performance.now() });
    }, PING_EVERY);
  }

  #received(data) {
    this.#heard = performance.now();
    if (typeof data !== "string") {
      const frame = parseFrame(data);
      if (frame && frame.generation >= this.generation) this.#tell("frame", frame);
      return;
    }
    const message = JSON.parse(data);
    if (OF_THE_PLAY.has(message.type)) {
      if (message.generation < this.generation) return;
      this.generation = message.generation;
    }
    if (message.type === "welcome") {
      this.#attempt = 0;
      this.#replicas = message.replicas ?? 1;
    }
    if (message.type === "state") this.session = message.session;
    if (message.type === "pong") this.roundTrip = performance.now() - message.time;
    if (message.type === "error" && message.fatal) this.#fatal = message;
    const request = this.#requests.get(message.id);
    if (request) {
      this.#requests.delete(message.id);
      if (message.type === "error") request.reject(new RequestError(message.code, message.message));
      else request.resolve(message);
    } else this.#tell(message.type, message);
  }

  #lost() {
    const socket = this.#socket;
    this.#closed({ code: 1006 });
    socket.close();
  }

  #closed({ code }) {
    clearInterval(this.#heartbeat);
    this.#socket = null;
    this.roundTrip = null;
    for (const { reject } of this.#requests.values()) reject(new RequestError("closed", "The connection was lost."));
    this.#requests.clear();
    if (FINAL.has(code)) {
      this.#tell("status", { status: "ended", error: this.#fatal });
      return;
    }
    const wait = WAITS[Math.min(this.#attempt++, WAITS.length - 1)];
    this.#timer = setTimeout(() => this.open(), wait);
    this.#tell("status", { status: "waiting", seconds: wait / 1000, error: this.#fatal });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
