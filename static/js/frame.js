// What is the same on every page: keys, dialogs, the user menu and the theme.

const handlers = new Map();

/** Whether keys belong to a control now, and not to the page. */
export function typing(event) {
  const field = event.target.closest?.("input, select, textarea, [contenteditable]");
  return Boolean(field) && !["radio", "checkbox", "range"].includes(field.type);
}

/** Let a key of the page call `handler(event)`; a handler that returns false did not want it. */
export function onKey(key, handler) {
  handlers.set(key, [...(handlers.get(key) ?? []), handler]);
}

export const openDialog = () => document.querySelector("dialog[open]");

function dispatchKey(event) {
  if (event.defaultPrevented || typing(event)) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  for (const handler of handlers.get(event.key) ?? []) {
    if (handler(event) !== false) {
      event.preventDefault();
      return;
    }
  }
}

function startKeys() {
  document.addEventListener("keydown", dispatchKey);
  const unlessDialog = (act) => () => (openDialog() ? false : act());
  onKey("/", unlessDialog(() => focusField(document.getElementById("search"))));
  onKey("f", unlessDialog(() => focusField(document.getElementById("filter-text"))));
  onKey("?", unlessDialog(() => document.getElementById("keys")?.showModal()));
  for (const link of document.querySelectorAll("[data-key-link]")) {
    onKey(link.dataset.keyLink, unlessDialog(() => link.click()));
  }
  for (const button of document.querySelectorAll("button[data-shortcut]")) {
    onKey(button.dataset.shortcut, unlessDialog(() => button.click()));
  }
}

function focusField(field) {
  if (!field) return false;
  field.focus();
  field.select();
  return true;
}

function startButtons() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.opens) document.getElementById(button.dataset.opens).showModal();
    if (button?.dataset.closes) document.getElementById(button.dataset.closes).close();
    if (button?.dataset.clicks) document.getElementById(button.dataset.clicks).click();
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    const form = event.target.closest?.("form");
    if (event.key === "Enter" && event.ctrlKey && form?.method === "post") form.requestSubmit();
  });
  // A second click must not accession twice; the page that comes back has the button alive again.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    if (event.submitter?.formMethod === "dialog") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
}

function startTheme() {
  for (const choice of document.querySelectorAll('input[name="theme"]')) {
    choice.addEventListener("change", () => {
      const root = document.documentElement;
      const life = choice.value ? 60 * 60 * 24 * 365 : 0;
      document.cookie = `theme=${choice.value}; path=/; max-age=${life}; samesite=lax`;
      if (choice.value) root.dataset.theme = choice.value;
      else delete root.dataset.theme;
    });
  }
}

export function startFrame() {
  startKeys();
  startButtons();
  startTheme();
  document.querySelector("[aria-invalid='true'], [data-focus-first]")?.focus();
}
