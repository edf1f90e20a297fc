// The server's REST calls that the page needs.

const url = (path) => new URL(path, document.baseURI);

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(url(path), options);
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.error?.message ?? `The server answered ${answer.status}.`);
  }
  return answer;
}

const json = async (path, options) => (await call(path, options)).json();
const post = (path, body, type) => json(path, { method: "POST", body, headers: { "Content-Type": type } });

/** Where a chunk's last picture is; chunk -1 is the start. */
export const chunkPicture = (session, chunk) => url(`api/sessions/${session}/chunks/${chunk}.jpg`).href;

/** The start pictures: [{name, prompt, url}]. */
export const listGallery = async () => (await json("api/gallery")).pictures;

/** Whether the server answers but wants its token first. */
export const isLockedOut = () => fetch(url("api/gallery")).then(({ status }) => status === 401, () => false);

/** All sessions of the server, the newest first. */
export const listSessions = async () => (await json("api/sessions")).sessions;

export const deleteSession = (session) => call(`api/sessions/${session}`, { method: "DELETE" });

/** The content of a session's file. */
export const sessionFile = async (session) => (await call(`api/sessions/${session}/file`)).blob();

/** A new session from a file's content: its entry. */
export const openSessionFile = (file) => post("api/sessions/file", file, "application/octet-stream");

/** A start picture: {upload, width, height, url}. */
export const uploadPicture = (blob) => post("api/uploads", blob, blob.type);

/** Ask for the video of all that was played: a job. */
export const makeVideo = (session) => post(`api/jobs?session=${session}`, JSON.stringify({ session }), "application/json");

export const getJob = (job) => json(`api/jobs/${job}`);

/** The job's video when it is done. */
export const jobVideo = async (job) => (await call(`api/jobs/${job}/video.mp4`)).blob();
