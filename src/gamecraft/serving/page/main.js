// Puts the parts together and says which of the two screens is shown.

import { Connection } from "./connection.js";
import { hideCover, showBanner, showCover } from "./cover.js";
import { ask, byId, toast } from "./dom.js";
import { showHelp } from "./help.js";
import { Input } from "./input.js";
import { keepFile, keepLink, keepVideo, linkedSession } from "./keep.js";
import { listenToKeyboard } from "./keyboard.js";
import { showKeys } from "./keypad.js";
import { listenToMouse } from "./mouse.js";
import { Play } from "./play.js";
import { Player } from "./player.js";
import { isLockedOut, openSessionFile, sessionFile } from "./rest.js";
import { Sender } from "./sender.js";
import { Settings } from "./settings.js";
import { StartScreen } from "./start.js";
import { listenToSticks } from "./sticks.js";
import { Timeline } from "./timeline.js";

const TAB_SESSION = "gamecraft.session"; // in sessionStorage: a reloaded tab goes on with its play

const connection = new Connection();
const input = new Input();
const settings = new Settings();
const player = new Player(byId("view"), byId("ambient"), (generation) => generation === connection.generation);
const sender = new Sender(connection, input);
const start = new StartScreen();
const light = showKeys(byId("keys-move"), byId("keys-look"), input);
const play = new Play({ connection, input, player, sender, timeline: new Timeline(), light, settings });

let welcome = null;

const hand = { sensitivity: () => settings.values.sensitivity, inverted: () => settings.values.inverted };
listenToMouse(byId("view"), input, hand);
listenToSticks(byId("stick-move"), byId("stick-look"), input, hand);
listenToKeyboard(input, { ...play.commands, k: keep, ",": openSettings, "?": openHelp }, () => play.state !== null);

byId("keep-open").onclick = keep;
for (const id of ["settings-open", "start-settings"]) byId(id).onclick = openSettings;
for (const id of ["help-open", "start-help"]) byId(id).onclick = openHelp;
window.addEventListener("keydown", (event) => {
  if (event.key === "?" && play.state === null && !event.target.closest("input, dialog")) openHelp();
});

start.addEventListener("begin", ({ detail }) => play.begin(detail));
start.addEventListener("resume", ({ detail }) => play.resume(detail.session));
start.addEventListener("file", ({ detail }) => openFile(detail.file));
play.addEventListener("state", () => sessionStorage.setItem(TAB_SESSION, play.state.session));
play.addEventListener("left", () => {
  start.refresh({ own: sessionStorage.getItem(TAB_SESSION) });
  sessionStorage.removeItem(TAB_SESSION);
});
document.addEventListener("visibilitychange", () => document.hidden && play.rest());
byId("play-prompt").addEventListener("focus", () => play.rest());

const on = (name, handle) => connection.addEventListener(name, ({ detail }) => handle(detail));
on("welcome", welcomed);
on("status", connectionChanged);
on("error", ({ message, fatal }) => fatal || toast(message, { error: true }));
on("queue", ({ position, waiting }) => {
  const text = position === 1 ? "You are next." : `${position - 1} before you, ${waiting} waiting.`;
  waitFor("All places are taken", text, "In line");
});
on("progress", ({ what, done, total }) => {
  const fraction = total ? done / total : null;
  const percent = total ? ` ${Math.round(100 * fraction)} %` : "";
  if (what === "chunk") play.progress(fraction ?? 0);
  if (what === "loading") waitFor("Warming up", `The model is being loaded.${percent}`, `Warming up${percent}`, fraction);
  if (what === "restoring") showCover("Bringing your play back", `Chunk ${done} of ${total} is made again.`, fraction);
});

start.wait("Looking for the server…", "Connecting");
connection.open();

/** The server is not ready for this player: on the first screen the pictures stay usable, a play is covered. */
function waitFor(title, text, short, fraction = null) {
  start.wait(text, short, fraction);
  if (document.body.dataset.screen === "play") showCover(title, text, fraction);
}

async function welcomed(message) {
  const first = welcome === null;
  welcome = message;
  showBanner("");
  hideCover();
  start.welcome(message);
  start.refresh();
  sender.restart({ newConnection: true });
  if (play.state) await play.reconnected();
  else if (first) await openLinked();
}

async function openLinked() {
  const linked = linkedSession();
  const before = sessionStorage.getItem(TAB_SESSION);
  if (linked) {
    history.replaceState(null, "", document.baseURI.split("#")[0]);
    await sessionFile(linked).then(openCopy, (error) => toast(error.message, { error: true }));
  } else if (before) await play.resume(before);
}

async function connectionChanged({ status, seconds, error }) {
  if (status === "ended") {
    const again = { name: "Play here", run: () => connection.open() };
    if (error?.code === "taken") showCover("Played elsewhere", "This play goes on in another window.", null, again);
    else showCover("The server said no", error?.message ?? "It ended the connection.", null, { ...again, name: "Try again" });
  }
  if (status !== "waiting") return;
  if (play.state) showBanner(`The connection was lost. Trying again${seconds >= 1 ? ` in ${Math.round(seconds)} s` : ""}…`);
  if (error) toast(error.message, { error: true });
  const locked = await isLockedOut();
  start.wait(locked ? "This server wants its token: open the address that it printed when it started."
    : "The server does not answer. Trying again…", locked ? "Locked" : "Connecting");
}

async function openFile(file) {
  byId("file-choice-text").textContent = file.name;
  const choice = await ask(byId("file-choice"));
  if (choice === "replay" || choice === "play") await openCopy(file, { watch: choice === "replay" });
}

async function openCopy(file, { watch = true } = {}) {
  try {
    const { session } = await openSessionFile(file);
    await play.resume(session, { watch });
  } catch (error) {
    toast(error.message, { error: true });
  }
}

async function keep() {
  if (!play.state) return;
  play.rest();
  byId("keep-name").value = play.state.name;
  const choice = await ask(byId("keep"));
  const state = { ...play.state, name: byId("keep-name").value.trim() };
  const run = {
    file: () => keepFile(connection, state),
    video: () => keepVideo(state, showBanner),
    link: () => keepLink(connection, state),
    replay: () => play.watch(),
    name: () => state.name !== play.state.name && connection.request({ type: "save", name: state.name }),
  }[choice];
  try {
    await run?.();
  } catch (error) {
    toast(error.message, { error: true });
  }
  showBanner("");
}

function openSettings() {
  play.rest();
  settings.open(welcome?.model, welcome?.limits);
}

function openHelp() {
  play.rest();
  showHelp();
}
