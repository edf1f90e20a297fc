// The first screen: choose where to start.

import { crop } from "./crop.js";
import { byId, element, toast } from "./dom.js";
import { chunkPicture, deleteSession, listGallery, listSessions, uploadPicture } from "./rest.js";
import { recall, remember } from "./storage.js";

const RANDOM_SEEDS = 100_000; // short enough to be told to a friend
const MAX_SEED = Number.MAX_SAFE_INTEGER;

/**
 * Dispatches "begin" with {image, prompt, seed, preview: img}, "resume" with {session}, and "file" with {file}.
 */
export class StartScreen extends EventTarget {
  #model = null;
  #limits = null;
  #chosen = null; // {image: {gallery} or {upload}, card}

  constructor() {
    super();
    byId("seed").value = randomSeed();
    byId("dice").onclick = () => (byId("seed").value = randomSeed());
    byId("launch").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin();
    });
    byId("gallery").addEventListener("keydown", (event) => this.#walk(event));
    this.#takeFiles("picture-file", "drop-picture", (file) => this.#ownPicture(file));
    this.#takeFiles("session-file", "drop-session", (file) => this.#tell("file", { file }));
    window.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith("image/"));
      if (file && document.body.dataset.screen === "start") this.#ownPicture(file);
    });
    for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  }

  /** The server is ready to play. */
  welcome({ model, gallery, limits }) {
    this.#model = model;
    this.#limits = limits;
    byId("model-line").textContent =
      `${model.name} · ${model.width} × ${model.height} pixels · ${model.fps} frames per second`;
    byId("begin").disabled = false;
    byId("start-progress").hidden = true;
    byId("begin-text").textContent = "Play";
    this.#fill(gallery);
  }

  /** It is not, and why; the pictures can be chosen meanwhile. `fraction` is how far it is, null if nobody knows. */
  wait(text, short, fraction = null) {
    byId("start-progress").hidden = false;
    if (fraction === null) byId("start-progress").removeAttribute("value");
    else byId("start-progress").value = fraction;
    byId("model-line").textContent = text;
    byId("begin").disabled = true;
    byId("begin-text").textContent = short;
    if (!this.#chosen) listGallery().then((pictures) => this.#fill(pictures), () => {});
  }

  /** Show the sessions that can be gone on with; `own` is the one this page has just left. */
  async refresh({ own = null } = {}) {
    const sessions = await listSessions().catch(() => []);
    const items = sessions.filter(({ chunks }) => chunks > 0).slice(0, 12).map((entry) => this.#session(entry, own));
    byId("continue-list").replaceChildren(...items);
    byId("continue").hidden = items.length === 0;
  }

  #begin() {
    if (!this.#chosen || byId("begin").disabled) return;
    const text = byId("seed").value.trim();
    const seed = Number(text || randomSeed());
    if (!/^\d*$/.test(text) || seed > MAX_SEED) {
      toast(`A seed is a whole number from 0 to ${MAX_SEED}.`, { error: true });
      byId("seed").focus();
      return;
    }
    const { image, card } = this.#chosen;
    if (image.gallery) remember("picture", image.gallery);
    const prompt = byId("prompt").value.trim() || null;
    this.#tell("begin", { image, prompt, seed, preview: card.querySelector("img") });
  }

  #fill(pictures) {
    if (this.#chosen) return; // known already: the player's choice and pictures stay
    byId("gallery").replaceChildren();
    for (const { name, prompt, url } of pictures) this.#card(name, url, prompt, { gallery: name });
    const last = recall("picture", null);
    const cards = [...byId("gallery").children];
    const card = cards.find((one) => one.dataset.name === last) ?? cards[0];
    if (card) card.onclick();
  }

  #card(name, url, prompt, image) {
    const card = element(
      "button",
      { type: "button", className: "card", title: prompt,
        attributes: { role: "radio", "aria-checked": "false", "data-name": name } },
      element("img", { src: url, alt: prompt || name }),
      element("span", { textContent: name.replaceAll("_", " ") }),
    );
    card.tabIndex = -1;
    card.onclick = () => this.#choose(card, image, prompt);
    card.ondblclick = () => this.#begin();
    byId("gallery").append(card);
    return card;
  }

  #choose(card, image, prompt) {
    for (const other of byId("gallery").children) {
      other.setAttribute("aria-checked", other === card);
      other.tabIndex = other === card ? 0 : -1;
    }
    this.#chosen = { image, card };
    byId("prompt").placeholder = prompt || "describe the picture, so that the world stays true to it";
  }

  #walk(event) {
    const cards = [...byId("gallery").children];
    const place = cards.indexOf(event.target.closest(".card"));
    const columns = Math.max(1, cards.filter((card) => card.offsetTop === cards[0]?.offsetTop).length);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (event.key === "Enter") {
      event.preventDefault();
      this.#begin();
    }
    const card = step && cards[place + step];
    if (!card) return;
    event.preventDefault();
    card.focus();
    card.click();
  }

  #session({ session, name, chunks, seconds, prompt, playing }, own) {
    const title = name || (prompt.length > 40 ? `${prompt.slice(0, 38)}…` : prompt) || "no prompt";
    const picture = element("img", { src: chunkPicture(session, chunks - 1), alt: "" });
    const text = element("span", {}, title, element("small", {
      textContent: `${seconds.toFixed(1)} s${playing && session !== own ? " · played now" : ""}` }));
    const go = element("button", { type: "button" }, picture, text);
    go.onclick = () => this.#tell("resume", { session });
    const remove = element("button", {
      type: "button", className: "remove", textContent: "×", attributes: { "aria-label": `Delete ${title}` } });
    const item = element("li", {}, go, remove);
    remove.onclick = async () => {
      await deleteSession(session).catch((error) => toast(error.message, { error: true }));
      this.refresh();
    };
    return item;
  }

  async #ownPicture(file) {
    if (!this.#model) return;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) {
      toast(`${file.name || "This file"} is not a picture that can be read. PNG, JPEG and WebP can.`, { error: true });
      return;
    }
    const part = await crop(bitmap, this.#model.width / this.#model.height);
    bitmap.close();
    if (!part) return;
    try {
      if (part.size > this.#limits.upload_bytes) throw new Error("The picture is too large for this server.");
      const { upload, url } = await uploadPicture(part);
      const card = this.#card("your picture", url, "", { upload });
      byId("gallery").prepend(card);
      card.onclick();
      card.scrollIntoView({ block: "nearest" });
      card.focus();
    } catch (error) {
      toast(error.message, { error: true });
    }
  }

  #takeFiles(inputId, zoneId, take) {
    const input = byId(inputId);
    const zone = byId(zoneId);
    input.onchange = () => {
      if (input.files[0]) take(input.files[0]);
      input.value = ""; // so that choosing the same file again is a change
    };
    zone.addEventListener("dragover", () => zone.classList.add("over"));
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      zone.classList.remove("over");
      if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

const randomSeed = () => Math.floor(Math.random() * RANDOM_SEEDS);
