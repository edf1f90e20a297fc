// The play on the screen: what the player asks of the server, and how its answers look.

import { hideCover, showBanner, showCover } from "./cover.js";
import { byId, setIcon, toast } from "./dom.js";
import { LAST, REPLAY, STILL } from "./frames.js";
import { Hud } from "./hud.js";
import { download, fileName } from "./keep.js";
import { freeMouse } from "./mouse.js";
import { Recorder } from "./recorder.js";

const SEEN_EVERY = 3; // pictures
const HINTS = {
  ready: "Hold W to walk. Click the picture to look around with the mouse.",
  touch: "Left stick to walk, right stick to look.",
  player: "Paused. P goes on, the dot plays one chunk.",
  idle: "Resting. Press any key to go on.",
  full: "This play is as long as it can be. Go back in the timeline, branch off, or start again.",
  replay: "Watching. Move, and you play on from the end.",
};

/** One play at a time. Dispatches "left" when the player goes back to the pictures. */
export class Play extends EventTarget {
  #connection;
  #input;
  #player;
  #sender;
  #timeline;
  #light;
  #settings;
  #canvas = byId("view");
  #recorder = new Recorder();
  #hud;
  #state = null;
  #paused = false; // by the player's own wish; otherwise moving goes on
  #going = false; // "play" is on its way
  #back = -1; // how many chunks a step back leaves
  #unseen = 0;
  #chunk = null; // the newest chunk message, for the keys of a replay

  constructor({ connection, input, player, sender, timeline, light, settings }) {
    super();
    this.#connection = connection;
    this.#input = input;
    this.#player = player;
    this.#sender = sender;
    this.#timeline = timeline;
    this.#light = light;
    this.#settings = settings;
    this.#hud = new Hud(() => ({
      framesPerSecond: player.framesPerSecond,
      latency: sender.latency ?? connection.roundTrip,
      chunks: this.#state?.chunks ?? 0,
      seed: this.#state?.seed ?? 0,
    }));
    this.#listen();
    this.#buttons();
  }

  /** The newest state of the play, or null. */
  get state() {
    return this.#state;
  }

  /** Begin a new play from the start screen's choice. */
  async begin({ image, prompt, seed, preview }) {
    this.#open();
    this.#player.preview(preview);
    showCover("One moment", "The world is being prepared.");
    const { steps, guidance, smoothing } = this.#settings.values;
    await this.#enter({ type: "start", image, prompt, seed, steps, guidance, smoothing, playing: false });
  }

  /** Go on with a session; `watch` shows it from its start first. */
  async resume(session, { watch = false } = {}) {
    this.#open();
    showCover("One moment", "Your play is being brought back.");
    await this.#connection.reach(session);
    await this.#enter({ type: "resume", session });
    if (watch && this.#state?.chunks) await this.#ask({ type: "replay", first_chunk: 0 });
  }

  /** The connection is there again after it was lost. */
  async reconnected() {
    showBanner("");
    if (!this.#state) return;
    this.#state.generation = -1; // numbers begin anew: whatever comes is a jump
    this.#sender.enabled = false; // so that what is held is sent again
    const paused = this.#paused;
    await this.#enter({ type: "resume", session: this.#state.session });
    this.#paused = paused;
  }

  /** What each key but those of the game does. */
  get commands() {
    const click = (id) => () => byId(id).click();
    return {
      p: click("pause"), ".": click("step"), "Shift+r": click("reset"), v: click("record"), f: click("full"),
      Backspace: () => this.#state && this.#back >= 0 && this.#rewind(this.#back),
      b: () => this.#fork(null),
      n: () => this.#ask({ type: "seed" }, (state) => toast(`Seed ${state.seed} from the next chunk on.`)),
      h: () => this.#bare(!document.body.classList.contains("bare")),
      Enter: () => {
        this.#bare(false);
        byId("play-prompt").focus();
        byId("play-prompt").select();
      },
    };
  }

  /** How far the next chunk is, 0 to 1. */
  progress(fraction) {
    this.#hud.progress(fraction);
  }

  /** Watch the play again from its start. */
  watch(firstChunk = 0) {
    return this.#ask({ type: "replay", first_chunk: firstChunk });
  }

  /** Give the mouse back and let the world wait while the player does something else; moving goes on. */
  rest() {
    freeMouse();
    if (this.#state?.playing) this.#ask({ type: "pause" });
  }

  /** Back to the pictures; the session is kept. */
  async leave() {
    freeMouse();
    if (this.#recorder.running) await this.#record();
    if (this.#state?.playing) this.#connection.request({ type: "pause" }).catch(() => {});
    this.#state = null;
    this.#sender.enabled = false;
    this.#input.release();
    hideCover();
    byId("play").hidden = true;
    document.body.dataset.screen = "start";
    document.body.classList.remove("bare");
    byId("start").hidden = false;
    this.dispatchEvent(new Event("left"));
  }

  #open() {
    byId("start").hidden = true;
    byId("play").hidden = false;
    document.body.dataset.screen = "play";
    document.activeElement?.blur?.();
    this.#paused = false;
    this.#hud.progress(0);
  }

  async #enter(message) {
    try {
      await this.#connection.request(message);
      const { moveSpeed, turnSpeed } = this.#settings.values;
      if (moveSpeed !== null || turnSpeed !== null) {
        this.#connection.send({ type: "speed", move_speed: moveSpeed, turn_speed: turnSpeed });
      }
      this.#sender.enabled = true;
      if (this.#input.keys.length) this.#moved(); // held since before the connection was lost
    } catch (error) {
      if (error.code === "closed" && this.#state) return; // the next connection brings it back
      toast(error.message, { error: true });
      await this.leave();
    }
  }

  async #ask(message, done = () => {}) {
    if (!this.#state) return;
    try {
      await this.#connection.request(message);
      done(this.#state);
    } catch (error) {
      toast(error.message, { error: true });
    }
  }

  #listen() {
    const on = (name, handle) => this.#connection.addEventListener(name, ({ detail }) => handle(detail));
    on("state", (state) => this.#show(state));
    on("chunk", (chunk) => {
      this.#chunk = chunk;
      if (this.#state && !chunk.replay) this.#state.chunks = Math.max(this.#state.chunks, chunk.chunk + 1);
    });
    on("frame", (frame) => this.#state && this.#player.show(frame));
    this.#player.addEventListener("shown", ({ detail }) => this.#shown(detail));
    this.#input.addEventListener("change", () => this.#input.keys.length && this.#moved());
    this.#input.addEventListener("look", () => this.#moved());
    const listen = (name, handle) => this.#timeline.addEventListener(name, ({ detail }) => handle(detail.chunks));
    listen("rewind", (chunks) => this.#rewind(chunks));
    listen("fork", (chunks) => this.#fork(chunks));
    listen("replay", (chunks) => this.watch(chunks));
    this.#settings.addEventListener("change", ({ detail: { name, value } }) => {
      const field = { moveSpeed: "move_speed", turnSpeed: "turn_speed" }[name];
      if (field) this.#ask({ type: "speed", [field]: value });
    });
  }

  #buttons() {
    const on = (id, handle) => byId(id).addEventListener("click", handle);
    on("pause", () => {
      this.#paused = Boolean(this.#state?.playing);
      this.#ask({ type: this.#paused ? "pause" : "play" });
    });
    on("step", () => {
      this.#paused = true;
      this.#ask({ type: "step" });
    });
    on("reset", () => {
      this.#paused = false;
      this.#ask({ type: "reset" });
    });
    on("record", () => this.#record());
    on("full", () => this.#fullScreen());
    on("leave", () => this.leave());
    byId("prompt-form").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("play-prompt").blur();
      const prompt = byId("play-prompt").value.trim();
      this.#ask({ type: "prompt", prompt }, () => toast("The prompt counts from the next chunk on."));
    });
    byId("play-prompt").addEventListener("keydown", (event) => event.key === "Escape" && event.target.blur());
    byId("tools").addEventListener("pointerdown", (event) => event.preventDefault()); // Space stays a game key
  }

  #show(state) {
    const jumped = state.generation !== this.#state?.generation || state.session !== this.#state.session;
    if (document.body.dataset.screen !== "play") return;
    this.#state = state;
    this.#going = false;
    hideCover();
    if (jumped) {
      this.#timeline.show(state.session, state.chunks);
      this.#sender.restart();
      this.#hud.progress(0);
    }
    if (state.paused !== "replay") this.#light(this.#input.keys);
    byId("pause").setAttribute("aria-pressed", !state.playing && this.#paused);
    byId("pause").setAttribute("aria-label", state.playing ? "Pause" : "Go on");
    setIcon(byId("pause"), state.playing ? "pause" : "play");
    if (document.activeElement !== byId("play-prompt")) byId("play-prompt").value = state.prompt;
    this.#hint();
    this.#hud.refresh();
    this.dispatchEvent(new Event("state"));
  }

  #hint() {
    const { playing, paused } = this.#state;
    const ready = document.body.classList.contains("touch") ? "touch" : "ready";
    const name = paused === "player" && !this.#paused ? ready : paused;
    byId("hint").textContent = HINTS[name] ?? "";
    byId("hint").classList.toggle("gone", playing || !name);
  }

  #shown(frame) {
    if (!this.#state) return;
    this.#back = frame.flags & STILL ? frame.chunk - 1 : frame.chunk;
    this.#sender.shown(frame);
    this.#recorder.add(this.#canvas);
    if (frame.flags & LAST && !(frame.flags & REPLAY)) this.#timeline.played(frame.chunk, this.#canvas);
    if (frame.flags & REPLAY && this.#chunk) this.#light(this.#chunk.frames[frame.frame - this.#chunk.first_frame]?.keys ?? []);
    this.#unseen += 1;
    if (frame.flags & STILL || (this.#unseen < SEEN_EVERY && !(frame.flags & LAST))) return;
    this.#unseen = 0;
    this.#connection.send({ type: "seen", generation: frame.generation, frame: frame.frame });
  }

  #moved() {
    const { playing, paused } = this.#state ?? {};
    if (paused === "replay" || playing !== false || this.#paused || this.#going) return;
    this.#going = true;
    this.#ask({ type: "play" });
  }

  #rewind(chunks) {
    this.#paused = false;
    return this.#ask({ type: "rewind", chunks });
  }

  #fork(chunks) {
    this.#paused = false;
    return this.#ask({ type: "fork", chunks }, () => toast("You are on a new branch; the old one is kept on the first page."));
  }

  #bare(bare) {
    document.body.classList.toggle("bare", bare);
    if (bare) toast("H brings everything back.");
  }

  async #record() {
    if (!Recorder.ending) {
      toast("This browser cannot record. Keep (K) makes a video on the server.", { error: true });
      return;
    }
    if (this.#recorder.running) {
      const video = await this.#recorder.stop();
      if (video.size) download(video, `${fileName(this.#state)}.${Recorder.ending}`);
      toast("The recording is in your downloads.");
    } else if (this.#state) {
      this.#recorder.start(this.#canvas);
      toast("Recording. V ends it.");
    }
    byId("record").setAttribute("aria-pressed", this.#recorder.running);
  }

  async #fullScreen() {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    await document.documentElement.requestFullscreen().catch(() => {});
    await navigator.keyboard?.lock?.(["KeyW", "KeyS", "ControlLeft", "ControlRight"]).catch(() => {}); // so Ctrl+W sinks
  }
}
