// The chunks played so far, as pictures: a way back to each of them.

import { byId, element } from "./dom.js";
import { chunkPicture } from "./rest.js";

const THUMB = [80, 48];

/**
 * A strip of chunks. Dispatches "rewind", "fork" and "replay" with `detail` {chunks}: how many chunks had been played at
 * the place that was chosen.
 */
export class Timeline extends EventTarget {
  #list = byId("chunks");
  #menu = null;
  #session = null;
  #current; // the item of the place where the play stands; a long play has thousands that stay as they are

  constructor() {
    super();
    this.#list.addEventListener("click", ({ target }) => {
      const item = target.closest("li");
      if (item) this.#open(item);
    });
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
    document.addEventListener("pointerdown", ({ target }) => !this.#menu?.contains(target) && this.close());
    byId("timeline").addEventListener("wheel", (event) => {
      byId("timeline").scrollLeft += event.deltaY + event.deltaX;
      event.preventDefault();
    }, { passive: false });
  }

  /** Follow a session that stands after so many chunks; what is known of them already stays. */
  show(session, chunks) {
    this.close();
    if (session !== this.#session) this.#list.replaceChildren();
    this.#session = session;
    while (this.#list.children.length > chunks + 1) this.#list.lastElementChild.remove();
    this.#fill(chunks + 1);
    this.#mark(chunks);
  }

  /** The last picture of chunk `chunk` (from 0) is on `canvas`. */
  played(chunk, canvas) {
    const picture = element("canvas", { width: THUMB[0], height: THUMB[1], attributes: { "aria-hidden": "true" } });
    picture.getContext("2d").drawImage(canvas, 0, 0, ...THUMB);
    this.#fill(chunk + 1); // pictures between may have been left out on a slow line
    const item = this.#list.children[chunk + 1];
    if (item) item.querySelector("img, canvas").replaceWith(picture);
    else this.#add(chunk + 1, picture);
    this.#mark(chunk + 1);
  }

  /** Close the menu of a chunk, if one is open. */
  close() {
    this.#menu?.remove();
    this.#menu = null;
    this.#list.querySelector(".chosen")?.classList.remove("chosen");
  }

  #fill(length) {
    while (this.#list.children.length < length) {
      const played = this.#list.children.length;
      const picture = element("img", { alt: "", loading: "lazy", src: chunkPicture(this.#session, played - 1) });
      [picture.width, picture.height] = THUMB;
      picture.onerror = () => picture.removeAttribute("src");
      this.#add(played, picture);
    }
  }

  #add(played, picture) {
    const label = played === 0 ? "start" : String(played);
    const button = element(
      "button",
      { type: "button", className: "chunk", tabIndex: -1, attributes: {
        "aria-label": played === 0 ? "The start" : `Chunk ${played}`, "aria-haspopup": "menu" } },
      picture,
      element("span", { textContent: label }),
    );
    this.#list.append(element("li", { attributes: { "aria-current": false } }, button));
  }

  #mark(place) {
    const item = this.#list.children[place];
    if (item !== this.#current) {
      for (const [each, current] of [[this.#current, false], [item, true]]) {
        each?.setAttribute("aria-current", current);
        if (each) each.firstElementChild.tabIndex = current ? 0 : -1;
      }
      this.#current = item;
    }
    const strip = byId("timeline");
    if (item && !this.#menu) strip.scrollLeft = item.offsetLeft + item.offsetWidth - strip.clientWidth + 8;
  }

  #walk(event) {
    const item = event.target.closest("li");
    const next = { ArrowLeft: item?.previousElementSibling, ArrowRight: item?.nextElementSibling }[event.key];
    if (next === undefined) return;
    event.stopPropagation(); // here the arrows choose a chunk instead of turning the view
    event.preventDefault();
    next?.firstElementChild.focus();
  }

  #open(item) {
    this.close();
    item.classList.add("chosen");
    const chunks = [...this.#list.children].indexOf(item);
    const last = chunks === this.#list.children.length - 1;
    const choice = (name, icon, text) => {
      const button = element("button", { type: "button", className: "small", attributes: { role: "menuitem" } });
      button.innerHTML = `<svg><use href="#i-${icon}"/></svg>`;
      button.append(text);
      button.onclick = () => {
        this.close();
        this.dispatchEvent(new CustomEvent(name, { detail: { chunks } }));
      };
      return button;
    };
    const choices = [choice("fork", "fork", "Branch off here")];
    if (!last) choices.unshift(choice("rewind", "rewind", "Back to here"), choice("replay", "replay", "Watch from here"));
    this.#menu = element("div", { className: "chunk-menu", attributes: { role: "menu" } }, ...choices);
    this.#menu.addEventListener("keydown", (event) => this.#menuKey(event, item));
    byId("play").append(this.#menu);
    const box = item.getBoundingClientRect();
    const left = Math.min(window.innerWidth - this.#menu.offsetWidth - 8, Math.max(8, box.left));
    Object.assign(this.#menu.style, { left: `${left}px`, top: `${box.top - this.#menu.offsetHeight - 10}px` });
    choices[0].focus();
  }

  #menuKey(event, item) {
    const buttons = [...this.#menu.children];
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
    if (event.key === "Escape") {
      this.close();
      item.firstElementChild.focus();
    }
    if (step || event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
    }
  }
}
