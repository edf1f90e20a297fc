// Looking around with the mouse, which a click on the world captures and Escape gives back, or by dragging a finger.

const RADIANS_PER_PIXEL = 0.0022;
const LARGEST_JUMP = 400; // pixels in one event: more is a fault that some systems make when the pointer is captured

/**
 * @param canvas the world.
 * @param input receives the motion.
 * @param options {sensitivity(), inverted()} are asked at every motion.
 */
export function listenToMouse(canvas, input, { sensitivity, inverted }) {
  const captured = () => document.pointerLockElement === canvas;

  canvas.addEventListener("click", async (event) => {
    if (event.pointerType === "touch" || captured() || !canvas.requestPointerLock) return;
    try {
      // Without the system's acceleration the same hand motion is the same turn. Not every system can.
      await canvas.requestPointerLock({ unadjustedMovement: true });
    } catch (error) {
      if (error.name === "NotSupportedError") canvas.requestPointerLock()?.catch?.(() => {});
    }
  });
  document.addEventListener("pointerlockchange", () => document.body.classList.toggle("captured", captured()));
  const turn = ({ movementX, movementY }) => {
    if (Math.abs(movementX) > LARGEST_JUMP || Math.abs(movementY) > LARGEST_JUMP) return;
    const scale = RADIANS_PER_PIXEL * sensitivity();
    input.look(movementX * scale, (inverted() ? movementY : -movementY) * scale);
  };
  document.addEventListener("mousemove", (event) => captured() && turn(event));
  canvas.addEventListener("pointermove", (event) => event.pointerType === "touch" && turn(event)); // a finger drags
}

/** Give the mouse back, for dialogs and buttons. */
export function freeMouse() {
  if (document.pointerLockElement) document.exitPointerLock();
}
