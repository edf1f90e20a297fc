// Records what is on the screen to a video file, picture by picture as they come.

const TYPES = ["video/mp4;codecs=avc1.42E01F", "video/mp4", "video/webm;codecs=vp9", "video/webm"];
const WIDTH = 960; // small pictures are enlarged to about this with hard edges, or players would blur them
const BITS_PER_SECOND = 8_000_000;

/** One recording at a time. */
export class Recorder {
  #media = null;
  #stage = document.createElement("canvas");
  #track = null;
  #parts = [];

  /** The file name's ending this browser records to, or null if it cannot. */
  static get ending() {
    const type = this.#type;
    return type ? type.slice(6, type.startsWith("video/mp4") ? 9 : 10) : null;
  }

  static get #type() {
    return globalThis.MediaRecorder ? (TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? null) : null;
  }

  get running() {
    return this.#media !== null;
  }

  /** Begin with the picture that `canvas` shows now. */
  start(canvas) {
    const scale = Math.max(1, Math.round(WIDTH / canvas.width));
    this.#stage.width = 2 * Math.round((canvas.width * scale) / 2); // H.264 wants even sizes
    this.#stage.height = 2 * Math.round((canvas.height * scale) / 2);
    const stream = this.#stage.captureStream(0); // a picture only when asked for
    [this.#track] = stream.getVideoTracks();
    this.#parts = [];
    this.#media = new MediaRecorder(stream, { mimeType: Recorder.#type, videoBitsPerSecond: BITS_PER_SECOND });
    this.#media.ondataavailable = ({ data }) => data.size && this.#parts.push(data);
    this.#media.start(1000);
    this.add(canvas);
  }

  /** One more picture. */
  add(canvas) {
    if (!this.#media) return;
    const context = this.#stage.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(canvas, 0, 0, this.#stage.width, this.#stage.height);
    this.#track.requestFrame();
  }

  /** End; resolves to the video. */
  stop() {
    const media = this.#media;
    this.#media = null;
    return new Promise((resolve) => {
      media.onstop = () => resolve(new Blob(this.#parts, { type: media.mimeType.split(";")[0] }));
      media.stop();
      this.#track.stop();
    });
  }
}
