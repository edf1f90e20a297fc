// Choosing the part of a picture that becomes the start.

import { ask, byId } from "./dom.js";

const WIDEST = 1280; // pixels of the part that is sent: enough for any model, small enough for any line
const STEP = 0.04; // of the shown width, for each press of an arrow
const MOST_ZOOM = 6;

/** Where a view of `zoom` around a centre lies in a picture: {x, y, width, height} in its pixels, never outside. */
export function cropBox(picture, aspect, { x, y, zoom }) {
  const whole = Math.min(picture.width, picture.height * aspect);
  const width = whole / zoom;
  const height = width / aspect;
  const within = (centre, size, all) => Math.max(0, Math.min(all - size, centre * all - size / 2));
  return { x: within(x, width, picture.width), y: within(y, height, picture.height), width, height };
}

/** Ask for the part of `bitmap` with this aspect (width / height); resolves to a PNG, or null if it was cancelled. */
export async function crop(bitmap, aspect) {
  const canvas = byId("crop-canvas");
  const zoom = byId("crop-zoom");
  const place = { x: 0.5, y: 0.5, zoom: 1 };
  canvas.width = 1120;
  canvas.height = Math.round(canvas.width / aspect);
  const draw = (target) => {
    const box = cropBox(bitmap, aspect, place);
    place.x = (box.x + box.width / 2) / bitmap.width; // a push against the edge is not saved up
    place.y = (box.y + box.height / 2) / bitmap.height;
    const context = target.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, box.x, box.y, box.width, box.height, 0, 0, target.width, target.height);
    return box;
  };
  const show = () => {
    place.zoom = Math.max(1, Math.min(MOST_ZOOM, place.zoom));
    zoom.value = place.zoom;
    draw(canvas);
  };
  const move = (right, down) => {
    const box = cropBox(bitmap, aspect, place);
    place.x += (right * box.width) / bitmap.width;
    place.y += (down * box.height) / bitmap.height;
    show();
  };

  const listening = new AbortController();
  const on = (target, name, handle) =>
    target.addEventListener(name, handle, { signal: listening.signal, passive: false });
  on(zoom, "input", () => {
    place.zoom = Number(zoom.value);
    draw(canvas);
  });
  on(canvas, "wheel", (event) => {
    event.preventDefault();
    place.zoom *= Math.exp(-event.deltaY / 500);
    show();
  });
  on(canvas, "pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  on(canvas, "pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) {
      move(-event.movementX / canvas.clientWidth, -event.movementY / canvas.clientHeight);
    }
  });
  on(canvas, "keydown", (event) => {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const factor = { "+": 1.1, "=": 1.1, "-": 1 / 1.1 }[event.key] ?? 1;
    if (!right && !down && factor === 1) return;
    event.preventDefault();
    place.zoom *= factor;
    move(right * STEP, down * STEP);
  });

  show();
  const choice = await ask(byId("crop"));
  listening.abort();
  if (choice !== "use") return null;
  const { width } = cropBox(bitmap, aspect, place);
  const part = document.createElement("canvas");
  part.width = Math.max(1, Math.round(Math.min(width, WIDEST)));
  part.height = Math.max(1, Math.round(part.width / aspect));
  draw(part);
  return new Promise((resolve) => part.toBlob(resolve, "image/png"));
}
