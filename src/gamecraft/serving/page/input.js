// What the player does, whatever the device: a set of held keys and mouse motion in radians.

/** The keys of the game, in the server's words. */
export const KEYS = ["w", "a", "s", "d", "space", "ctrl", "up", "down", "left", "right"];

/**
 * Joins devices into one state. Each device holds its own keys, so that letting go of a touch stick does not let go of
 * the keyboard. Dispatches "change" when the held keys change and "look" when the mouse moved.
 */
export class Input extends EventTarget {
  #held = new Map(); // device -> Set of keys
  #yaw = 0;
  #pitch = 0;

  /** All keys held now, in the order of `KEYS`. */
  get keys() {
    const all = new Set([...this.#held.values()].flatMap((keys) => [...keys]));
    return KEYS.filter((key) => all.has(key));
  }

  /** A device says which keys it holds now. */
  hold(device, keys) {
    const before = this.keys.join();
    this.#held.set(device, new Set(keys));
    if (this.keys.join() !== before) this.dispatchEvent(new Event("change"));
  }

  /** A device presses or lets go of one key. */
  press(device, key, down) {
    const keys = new Set(this.#held.get(device));
    if (down) keys.add(key);
    else keys.delete(key);
    this.hold(device, keys);
  }

  /** A device turned the view: radians, right and up. */
  look(yaw, pitch) {
    if (!yaw && !pitch) return;
    this.#yaw += yaw;
    this.#pitch += pitch;
    this.dispatchEvent(new Event("look"));
  }

  /** The motion [yaw, pitch] since it was last taken, in radians. */
  takeLook() {
    const taken = [this.#yaw, this.#pitch];
    this.#yaw = this.#pitch = 0;
    return taken;
  }

  /** Let go of everything, as when the window loses the keyboard. */
  release() {
    for (const device of [...this.#held.keys()]) this.hold(device, []);
    this.takeLook();
  }
}
