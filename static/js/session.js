// What becomes of a page whose session ends. Nothing typed: the login page, and back. Something typed:
// it stays, under a cover, until the same person has logged in again in another tab.

import { csrfToken } from "./review/outbox.js";

// Seconds before the end.
const WARNING = Math.min(60, Number(document.body.dataset.idle) / 2);
const RETRY = 20;

const body = document.body;
let acted = 0;
let asked = Date.now();
let timer = null;

const sheet = () => document.getElementById("session");

/** Whether somebody would lose something by leaving. */
function typed() {
  if (Number(body.dataset.unsent)) return true;
  const fields = document.querySelectorAll("main textarea, main input:not([type=hidden]):not([type=password]), dialog textarea, dialog input[type=text]");
  return [...fields].some((field) =>
    ["checkbox", "radio", "range", "file"].includes(field.type) ? false : field.value !== field.defaultValue,
  );
}

function plan(seconds) {
  clearTimeout(timer);
  timer = setTimeout(look, 1000 * Math.max(1, seconds));
}

/** Ask how long the session lasts. Whoever did something since the last time is there: it goes on. */
export async function look() {
  const headers = { Accept: "application/json" };
  if (acted < asked) headers["X-Unattended"] = "1";
  asked = Date.now();
  let answer;
  try {
    answer = await fetch(body.dataset.session, { headers });
  } catch {
    return plan(RETRY);
  }
  if (answer.status === 401) return ended();
  if (!answer.ok) return plan(RETRY);
  const { seconds_left: left, user } = await answer.json();
  if (String(user) !== body.dataset.user) return window.location.reload();
  if (left > WARNING) goOn();
  else warn();
  return plan(left > WARNING ? left - WARNING : left + 1);
}

function warn() {
  if (!sheet().open) show("warning");
}

function show(state) {
  sheet().dataset.state = state;
  if (!sheet().open) sheet().showModal();
}

function goOn() {
  if (!sheet().open) return;
  // Each login has its own token; that of the forms is from before.
  for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = csrfToken();
  sheet().close();
}

export function ended() {
  clearTimeout(timer);
  if (typed()) show("ended");
  else window.location.reload();
}

export function startSession() {
  if (!body.dataset.session) return;
  const note = () => {
    acted = Date.now();
  };
  for (const kind of ["keydown", "pointerdown", "input"]) document.addEventListener(kind, note, true);
  // What htmx sends with no event behind it, it sends by the clock.
  document.addEventListener("htmx:configRequest", (event) => {
    if (!event.detail.triggeringEvent) event.detail.headers["X-Unattended"] = "1";
  });
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) ended();
  });
  sheet().addEventListener("cancel", (event) => event.preventDefault());
  sheet().querySelector("button").addEventListener("click", look);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && sheet().open) look();
  });
  plan(Number(body.dataset.idle) - WARNING);
}
