// Changes a live region in place: rows and tiles keep their element (and with it focus, loaded
// picture and scroll position) as long as their data-key stays. Registered as htmx's swap "morph".

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "");

function syncAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // What scripts add to an element stays theirs.
    if (!fresh.hasAttribute(name) && name !== "tabindex") old.removeAttribute(name);
  }
}

function similar(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

function reconcile(old, fresh, state) {
  let cursor = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    let match = null;
    if (key) {
      const known = state.byKey.get(key);
      if (known && known.nodeName === wanted.nodeName && !state.used.has(known)) match = known;
    } else {
      while (cursor && keyOf(cursor) && state.wanted.has(keyOf(cursor))) cursor = cursor.nextSibling;
      match = cursor;
      while (match && !similar(match, wanted)) match = match.nextSibling;
    }
    if (!match) {
      add(old, wanted, cursor, state);
      continue;
    }
    state.used.add(match);
    if (match === cursor) cursor = cursor.nextSibling;
    else old.insertBefore(match, cursor);
    if (!match.isEqualNode(wanted)) update(match, wanted, state);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    if (!state.used.has(cursor)) cursor.remove();
    cursor = next;
  }
  // What was stepped over and is no longer wanted here.
  for (const child of [...old.children]) if (!state.used.has(child)) child.remove();
}

/** A new element is built level by level: a tile that goes to a new group is moved into it. */
function add(parent, wanted, before, state) {
  const added = document.importNode(wanted, false);
  parent.insertBefore(added, before);
  state.used.add(added);
  if (added.nodeType !== Node.ELEMENT_NODE) return;
  state.added.push(added);
  reconcile(added, wanted, state);
}

function update(old, fresh, state) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  syncAttributes(old, fresh);
  // A control a person is using keeps its value; hidden ones carry the server's.
  if (old instanceof HTMLInputElement && old.type === "hidden") old.value = fresh.value;
  reconcile(old, fresh, state);
}

/** Give `root` the children of `fresh`; returns the elements that are new. */
export function morph(root, fresh) {
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const keyed = [...root.querySelectorAll("[data-key], [id]")];
  const state = {
    byKey: new Map(keyed.map((element) => [keyOf(element), element])),
    wanted: new Set([...fresh.querySelectorAll("[data-key], [id]")].map(keyOf)),
    used: new Set(),
    added: [],
  };
  reconcile(root, fresh, state);
  // Moving an element takes the focus from it.
  if (focused && focused.isConnected && document.activeElement !== focused) {
    focused.focus({ preventScroll: true });
  }
  return state.added;
}

window.htmx.defineExtension("morph", {
  isInlineSwap: () => false,
  handleSwap(style, target, fragment) {
    return style === "morph" ? morph(target, fragment) : false;
  },
});
