// Taking a play away: as a session file, as a video, as a link.

import { toast } from "./dom.js";
import { getJob, jobVideo, makeVideo, sessionFile } from "./rest.js";

const POLL = 500; // milliseconds between two looks at a video in the making
const LINK = "#watch=";

/** Hand a file to the browser's downloads. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A name for files of this state of play, without an ending. */
export const fileName = ({ name, seed, chunks }) =>
  `gamecraft-${(name || "play").replace(/[^A-Za-z0-9_-]+/g, "-")}-seed${seed}-${chunks}`;

/** Save the session and download its file. */
export async function keepFile(connection, state) {
  await connection.request({ type: "save", name: state.name });
  download(await sessionFile(state.session), `${fileName(state)}.safetensors`);
  toast("The session file is in your downloads.");
}

/** Have the server make the video of the whole play and download it; `progress` is told a text. */
export async function keepVideo(state, progress) {
  let job = await makeVideo(state.session);
  while (job.status === "waiting" || job.status === "running") {
    progress(job.total ? `Making the video: ${Math.round((100 * job.done) / job.total)} %` : "Making the video…");
    await new Promise((resolve) => setTimeout(resolve, POLL));
    job = await getJob(job.job);
  }
  if (job.status !== "done") throw new Error(job.error || "The video was not made.");
  download(await jobVideo(job.job), `${fileName(state)}.mp4`);
  toast("The video is in your downloads.");
}

/** Save the session and copy a link that opens a copy of it. */
export async function keepLink(connection, state) {
  await connection.request({ type: "save", name: state.name });
  const link = new URL(LINK + state.session, document.baseURI).href;
  try {
    await navigator.clipboard.writeText(link);
    toast("The link is copied.");
  } catch {
    window.prompt("Copy this link:", link); // without a secure context pages may not write to the clipboard
  }
}

/** The session that the page's address asks to watch, or null. */
export function linkedSession() {
  const { hash } = window.location;
  return hash.startsWith(LINK) ? hash.slice(LINK.length) : null;
}
