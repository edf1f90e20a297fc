// What the player can set, kept in the browser.

import { ask, byId, element } from "./dom.js";
import { recall, remember } from "./storage.js";

const THEMES = [["auto", "like the system"], ["dark", "dark"], ["light", "light"]];
const degrees = (radians) => (radians * 180) / Math.PI;

/** The settings with their defaults; steps and guidance are null for the model's own. */
const DEFAULTS = {
  sensitivity: 1, inverted: false, crisp: true, fill: false, theme: "auto",
  moveSpeed: null, turnSpeed: null, steps: null, guidance: null, smoothing: 0,
};

/** Dispatches "change" with {name, value}. Values are read as `settings.values.sensitivity`. */
export class Settings extends EventTarget {
  values = { ...DEFAULTS, ...recall("settings", {}) };

  constructor() {
    super();
    this.#apply();
  }

  /** Show the dialog. `model` and `limits` are the server's, null before it said them. */
  open(model, limits) {
    const fps = model?.fps ?? 24;
    const controls = [
      this.#range("moveSpeed", "Walking speed", 0.02, limits?.max_move_speed ?? 0.5, 0.01, 0.2,
        (value) => `${(value * fps).toFixed(1)} m/s`),
      this.#range("turnSpeed", "Turning speed of the arrows", 0.005, limits?.max_turn_speed ?? 0.1396, 0.001, 0.0349,
        (value) => `${Math.round(degrees(value) * fps)} °/s`),
      this.#range("sensitivity", "Mouse and stick sensitivity", 0.2, 3, 0.05, 1, (value) => `${value.toFixed(2)} ×`),
      this.#range("smoothing", "Gliding of the keys (next start)", 0, 0.9, 0.05, 0, (value) => value.toFixed(2)),
      this.#range("steps", "Denoising steps (next start)", 1, 50, 1, model?.steps ?? 12, String),
      this.#range("guidance", "Guidance (next start)", 1, 8, 0.1, model?.guidance ?? 1, (value) => value.toFixed(1)),
      this.#choice("theme", "Colours", THEMES),
      this.#check("inverted", "Mouse up looks down"),
      this.#check("crisp", "Crisp pixels"),
      this.#check("fill", "Fill the window, cut the edges"),
    ];
    byId("settings-grid").replaceChildren(...controls);
    return ask(byId("settings"));
  }

  #set(name, value) {
    this.values[name] = value;
    remember("settings", this.values);
    this.#apply();
    this.dispatchEvent(new CustomEvent("change", { detail: { name, value } }));
  }

  #apply() {
    const { theme, crisp, fill } = this.values;
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("view").classList.toggle("smooth", !crisp);
    byId("view").classList.toggle("fill", fill);
  }

  #range(name, label, min, max, step, fallback, show) {
    const value = this.values[name] ?? fallback;
    const output = element("output", { textContent: show(value) });
    const input = element("input", { type: "range", min, max, step, name });
    input.value = value;
    input.oninput = () => (output.textContent = show(Number(input.value)));
    input.onchange = () => this.#set(name, Number(input.value));
    return element("label", { className: "field" }, element("span", {}, label, output), input);
  }

  #check(name, label) {
    const input = element("input", { type: "checkbox", checked: this.values[name], name });
    input.onchange = () => this.#set(name, input.checked);
    return element("label", { className: "field check" }, input, label);
  }

  #choice(name, label, options) {
    const select = element("select", { name });
    for (const [value, text] of options) select.append(element("option", { value, textContent: text }));
    select.value = this.values[name];
    select.onchange = () => this.#set(name, select.value);
    return element("label", { className: "field" }, label, select);
  }
}
