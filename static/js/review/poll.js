// What others do to the case meanwhile: asked for every two seconds, only what is newer than known.

const PAUSE = 2000;

export class Poll {
  /** `news(answer)` gets every answer that came; `reload()` is called when cells were added. */
  constructor(config, answer, { news, reload }) {
    Object.assign(this, { url: config.urls.cells, since: answer.since, stock: answer.stock, news, reload });
    this.plan();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.ask();
    });
  }

  plan() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), PAUSE);
  }

  async ask() {
    clearTimeout(this.timer);
    if (!document.hidden) await this.fetch();
    this.plan();
  }

  async fetch() {
    try {
      const response = await fetch(`${this.url}?since=${this.since}`, { headers: { Accept: "application/json", "X-Unattended": "1" } });
      if (!response.ok || response.redirected) return;
      const answer = await response.json();
      if (answer.stock !== this.stock) await this.reload();
      this.since = answer.since;
      this.stock = answer.stock;
      this.news(answer);
    } catch {
      // The line is down: the next round asks for the same.
    }
  }
}
