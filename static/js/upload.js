// Brings files to the server in requests of 25, two at a time, and shows what became of each.
// A request whose answer got lost is sent again: the server knows a picture by its content and
// answers "duplicate", so nothing is counted twice.

import { droppedFiles, isLitter } from "./drop.js";

const PER_REQUEST = 25;
const PARALLEL = 2;
const PAUSES = [1000, 3000, 9000, 20000];

// A connection that died without a word; 250 MB over a slow line fit in.
const TIMEOUT = 600_000;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** One request. Resolves with {status, body}; rejects where no answer came. */
function post(form, files, onProgress, confirmed) {
  return new Promise((resolve, reject) => {
    const data = new FormData();
    if (confirmed) data.append("confirmed", "1");
    for (const file of files) data.append("images", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    request.addEventListener("load", () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // A page instead of JSON: the session has ended, or a proxy answered.
      }
      resolve({ status: request.status, body, wait: Number(request.getResponseHeader("Retry-After")) });
    });
    request.timeout = TIMEOUT;
    request.addEventListener("error", () => reject(new Error("network")));
    request.addEventListener("timeout", () => reject(new Error("timeout")));
    request.send(data);
  });
}

async function postPatiently(form, files, batch, confirmed = false) {
  for (let attempt = 0; ; attempt += 1) {
    const last = attempt === PAUSES.length;
    try {
      const answer = await post(form, files, (share) => batch.sending(files, share), confirmed);
      if (answer.status !== 503 || last) return answer;
      batch.note(answer.body?.message ?? "The server is busy; trying again.");
      await sleep((answer.wait || PAUSES[attempt] / 1000) * 1000);
    } catch {
      if (last) return { status: 0, body: null };
      batch.note(`The server cannot be reached; trying again (${attempt + 1} of ${PAUSES.length}).`);
      await sleep(PAUSES[attempt]);
    }
  }
}

function reasonFor(answer) {
  if (answer.body?.message) return answer.body.message;
  if (answer.status === 0) return "The server could not be reached. Drop the files again: what arrived is not counted twice.";
  if (answer.status === 413) return "The request was too large for the server in front. Send fewer or smaller files.";
  // A redirect to the login page arrives as that page: 200, but no answer of ours.
  if ([200, 401, 403].includes(answer.status)) return "The session has ended. Log in again and drop the files again.";
  return `The server answered ${answer.status}. Drop the files again: what arrived is not counted twice.`;
}

/** What one drop became: its rows on the page and its two progress bars. */
class Batch {
  constructor(files, title) {
    const template = document.getElementById("batch-template");
    this.element = template.content.firstElementChild.cloneNode(true);
    this.total = files.length;
    this.shares = new Map();
    this.ids = new Set();
    this.counts = { accepted: 0, duplicate: 0, refused: 0, lost: 0 };
    this.find(".batch-title").textContent = title;
    this.find(".batch-sent").max = this.total;
    this.find(".batch-close").addEventListener("click", () => this.element.remove());
    document.getElementById("batches").prepend(this.element);
    this.show();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  sending(files, share) {
    this.shares.set(files, share * files.length);
    this.find(".batch-sent").value = [...this.shares.values()].reduce((a, b) => a + b, 0);
  }

  note(text) {
    this.find(".batch-state").textContent = text;
  }

  line(name, text, kind) {
    const list = this.find(".batch-lines");
    const item = document.createElement("li");
    const file = document.createElement("span");
    item.className = kind;
    file.className = "file";
    file.textContent = name;
    item.append(file, ` ${text}`);
    list.append(item);
    list.hidden = false;
    return item;
  }

  /** The reason by itself; what is accepted instead stands once, below all reasons. */
  refused({ filename, message, code }, file) {
    const [reason, accepted] = message.split(" Accepted: ");
    const said = reason.startsWith(`${filename} `) ? reason.slice(filename.length + 1) : reason;
    const item = this.line(filename, said, "refused");
    if (code === "identifiers_disagree") this.offer(item, file);
    if (!accepted) return;
    this.find(".batch-accepted").textContent = `Accepted: ${accepted}`;
    this.find(".batch-accepted").hidden = false;
  }

  /** A DICOM file that names somebody else: a person may say that it belongs here all the same. */
  offer(item, file) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = "Add it all the same";
    button.setAttribute("aria-label", `Add ${file.name} all the same`);
    button.addEventListener("click", () => {
      item.remove();
      this.counts.refused -= 1;
      this.confirm(file);
    });
    item.append(" ", button);
  }

  answered(files, answer) {
    this.sending(files, 1);
    if (!answer.body?.received) {
      this.counts.lost += files.length;
      const name = files.length === 1 ? files[0].name : `${files.length} files`;
      this.line(name, reasonFor(answer), "lost");
    }
    for (const [at, one] of (answer.body?.received ?? []).entries()) {
      this.counts[one.status] += 1;
      if (one.status === "refused") this.refused(one, files[at]);
      else this.ids.add(String(one.id));
    }
    this.show();
  }

  get answers() {
    return Object.values(this.counts).reduce((a, b) => a + b, 0);
  }

  show() {
    const { accepted, duplicate, refused, lost } = this.counts;
    const parts = [`${accepted} of ${this.total} accepted`];
    if (duplicate) parts.push(`${duplicate} already here`);
    if (refused) parts.push(`${refused} refused`);
    if (lost) parts.push(`${lost} not sent`);
    const done = this.classified();
    this.find(".batch-classified").max = this.ids.size || 1;
    this.find(".batch-classified").value = done;
    if (this.ids.size) parts.push(`${done} of ${this.ids.size} classified`);
    this.note(parts.join(", "));
    const ended = this.answers === this.total && done === this.ids.size;
    this.find(".batch-close").hidden = !ended;
    this.element.dataset.ended = String(ended);
  }

  /** How many of this batch's images the gallery shows as classified or failed. */
  classified() {
    let count = 0;
    for (const item of document.querySelectorAll("#cells [data-cell]")) {
      if (item.dataset.state !== "waiting" && this.ids.has(item.dataset.cell)) count += 1;
    }
    return count;
  }
}

function refresh() {
  window.htmx.trigger("#live", "refresh");
}

async function bring(form, chosen, batches) {
  const files = chosen.filter((file) => !isLitter(file));
  const litter = chosen.length - files.length;
  if (files.length === 0) return;
  // What was said before is done now.
  document.querySelector(".messages")?.remove();
  const folder = files[0].webkitRelativePath?.split("/")[0];
  const noun = files.length === 1 ? "1 file" : `${files.length} files`;
  const batch = new Batch(files, folder ? `${folder}: ${noun}` : noun);
  batch.confirm = async (file) => {
    batch.answered([file], await postPatiently(form, [file], batch, true));
    refresh();
  };
  batches.add(batch);
  if (litter) batch.line(`${litter} system file${litter === 1 ? "" : "s"}`, "left out", "note");
  const parts = [];
  for (let at = 0; at < files.length; at += PER_REQUEST) parts.push(files.slice(at, at + PER_REQUEST));
  const worker = async () => {
    for (let part = parts.shift(); part; part = parts.shift()) {
      const answer = await postPatiently(form, part, batch);
      batch.answered(part, answer);
      // With the cookies gone a refresh would only take away what was said about it.
      if (answer.status !== 403) refresh();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

function startDrop(form, take) {
  let depth = 0;
  const over = (on) => form.classList.toggle("over", on);
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  // The whole page takes a drop: missing the frame would make the browser open the picture.
  document.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    over(true);
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (depth === 0) over(false);
  });
  document.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    take(await droppedFiles(event.dataTransfer));
  });
}

export function startUpload() {
  const form = document.getElementById("drop");
  if (!form) return;
  const batches = new Set();
  let open = 0;
  const take = async (files) => {
    open += 1;
    try {
      await bring(form, files, batches);
    } finally {
      open -= 1;
    }
  };
  for (const input of form.querySelectorAll('input[type="file"]')) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = "";
    });
  }
  startDrop(form, take);
  document.addEventListener("htmx:afterSettle", () => batches.forEach((batch) => batch.show()));
  window.addEventListener("beforeunload", (event) => {
    if (open > 0) event.preventDefault();
  });
}
