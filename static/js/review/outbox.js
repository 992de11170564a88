// Decisions on their way to the server. What is not confirmed is kept in this browser, by person and
// case, and sent again: after a reload, after the line was down, after the session had ended.

const PAUSES = [1000, 2000, 4000, 8000, 15000];

export function csrfToken() {
  const cookie = document.cookie.match(/(?:^|; )(?:__Host-)?csrftoken=([^;]+)/);
  return cookie ? cookie[1] : document.querySelector("[name=csrfmiddlewaretoken]").value;
}

/** POST JSON. Resolves with {status, body}; body null where no JSON came (a login page, a proxy). */
export async function postJson(url, value) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
    body: JSON.stringify(value),
    signal: AbortSignal.timeout(15000),
  });
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  return { status: response.status, body: isJson ? await response.json() : null };
}

export class Outbox {
  /**
   * `events`: saved(cells), stale(cells), refused(ids, text), state(count, text). Ids are those of
   * cells; `cells` is what the server answered.
   */
  constructor(config, events) {
    this.url = config.urls.save;
    this.me = config.user;
    this.events = events;
    this.name = `wbclab.unsent.${config.user}.${config.specimen}${config.blinded ? ".read" : ""}`;
    this.entries = new Map();
    this.failures = 0;
    this.busy = false;
    this.timer = null;
    window.addEventListener("online", () => this.now());
    window.addEventListener("beforeunload", (event) => {
      if (this.entries.size) event.preventDefault();
    });
  }

  /** What an earlier page did not get rid of. */
  restored() {
    try {
      return JSON.parse(localStorage.getItem(this.name) ?? "[]");
    } catch {
      return [];
    }
  }

  keep() {
    try {
      if (this.entries.size) localStorage.setItem(this.name, JSON.stringify([...this.entries.values()]));
      else localStorage.removeItem(this.name);
    } catch {
      // Storage is full or switched off: the decisions live as long as the page, which warns.
    }
  }

  /** Want `label` for a cell whose `revision` the person has seen. */
  put(cell, label, revision, tried = []) {
    const waiting = this.entries.get(cell);
    this.entries.set(cell, { cell, label, revision: waiting?.revision ?? revision, tried: waiting?.tried ?? tried });
    this.dirty = true;
  }

  /** After a round of `put`: write down once, send soon. */
  flush() {
    if (this.dirty) this.keep();
    this.dirty = false;
    this.tell();
    if (!this.busy && !this.timer) this.send();
  }

  now() {
    clearTimeout(this.timer);
    this.timer = null;
    if (!this.busy) this.send();
  }

  drop(cell) {
    this.entries.delete(cell);
    this.dirty = true;
  }

  tell(text = "") {
    document.body.dataset.unsent = this.entries.size;
    this.events.state(this.entries.size, text || (this.failures ? this.trouble : ""));
  }

  async send() {
    if (!this.entries.size) return;
    this.busy = true;
    const sent = [...this.entries.values()].map(({ cell, label, revision }) => ({ cell, label, revision }));
    for (const { cell, label } of sent) this.entries.get(cell).tried = [...new Set([...this.entries.get(cell).tried, label])];
    this.keep();
    let answer = null;
    try {
      answer = await postJson(this.url, { decisions: sent });
    } catch {
      // No answer: whether it arrived shows when it is sent again.
    }
    this.busy = false;
    this.settle(sent, answer);
    this.keep();
    this.tell();
    if (this.entries.size && !this.timer) this.send();
  }

  settle(sent, answer) {
    if (answer?.status === 200 && answer.body) {
      this.failures = 0;
      this.confirm(sent, answer.body.cells);
    } else if (answer?.status === 409 && answer.body?.code === "stale") {
      this.failures = 0;
      this.conflict(answer.body.cells);
    } else if (answer?.body && answer.status !== 401 && answer.status >= 400 && answer.status < 500) {
      this.failures = 0;
      for (const { cell } of sent) this.drop(cell);
      this.events.refused(sent.map(({ cell }) => cell), answer.body.message);
    } else {
      this.wait(answer);
    }
  }

  confirm(sent, cells) {
    const answered = new Map(cells.map((cell) => [cell.id, cell]));
    for (const { cell, label } of sent) {
      const entry = this.entries.get(cell);
      if (!entry) continue;
      if (entry.label === label) this.drop(cell);
      // Changed again meanwhile: the next request builds on what was confirmed.
      else Object.assign(entry, { revision: answered.get(cell)?.revision ?? entry.revision + 1, tried: [] });
    }
    this.events.saved(cells);
  }

  conflict(cells) {
    const stale = [];
    for (const cell of cells) {
      const entry = this.entries.get(cell.id);
      if (!entry) continue;
      const ownLostAnswer = cell.by?.id === this.me && entry.tried.includes(cell.label);
      if (cell.label === entry.label) this.drop(cell.id);
      else if (ownLostAnswer) Object.assign(entry, { revision: cell.revision, tried: [] });
      else stale.push({ cell, mine: entry.label });
    }
    for (const { cell } of stale) this.drop(cell.id);
    const others = cells.filter((cell) => !stale.some((one) => one.cell.id === cell.id));
    this.events.saved(others);
    if (stale.length) this.events.stale(stale);
  }

  wait(answer) {
    const ended = answer && (answer.status === 401 || (!answer.body && answer.status < 500));
    this.trouble = ended
      ? "the session has ended: log in in another tab"
      : answer ? `the server answered ${answer.status}; trying again` : "no connection; trying again";
    const pause = PAUSES[Math.min(this.failures, PAUSES.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.now(), pause);
  }

  /** Resolves true once nothing waits, false after `milliseconds`. */
  async empty(milliseconds) {
    const until = performance.now() + milliseconds;
    if (this.timer) this.now();
    while (this.entries.size && performance.now() < until) await new Promise((go) => setTimeout(go, 30));
    return this.entries.size === 0;
  }
}
