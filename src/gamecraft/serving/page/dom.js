// The few things every module asks of the document.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; properties are set on it, `attributes` become attributes, children are appended. */
export function element(tag, { attributes = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Change a button's icon. */
export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}

/** A sentence that shows for a few seconds and is read out by screen readers. */
export function toast(text, { error = false } = {}) {
  const line = element("p", { textContent: text, className: error ? "error" : "" });
  byId("toasts").append(line);
  setTimeout(() => line.remove(), error ? 7000 : 3500);
}

/** Show a dialog; resolves to the value of the button that closed it, "" for Escape. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** Whether the keyboard belongs to a text field or a dialog now, not to the game. */
export function isTyping(event) {
  return Boolean(document.querySelector("dialog[open]") ?? event.target.closest?.("input, select, textarea"));
}
