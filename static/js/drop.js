// From what was dropped or chosen to a flat list of files, folders walked to the bottom.

// What operating systems leave in folders.
const LITTER = /^(\.|~\$|thumbs\.db$|desktop\.ini$)/i;

const entryFile = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  // A reader hands out a hundred entries at a time and an empty list at the end.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

async function walk(entry) {
  if (entry.isFile) return [await entryFile(entry)];
  const files = [];
  for (const inner of await entriesOf(entry)) files.push(...(await walk(inner)));
  return files;
}

export const isLitter = (file) => LITTER.test(file.name);

/** Files of a drop. The entries are taken at once: after the event the list is empty. */
export async function droppedFiles(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const loose = items.map((item, at) => (entries[at] ? null : item.getAsFile()));
  const files = loose.filter(Boolean);
  for (const entry of entries) if (entry) files.push(...(await walk(entry)));
  return files;
}
