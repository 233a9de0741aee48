// What is shown? All of it is in the address, so that a link shows the same to somebody else.

// `letters` is `off` where no single one does anything.
const state = { case: "", from: "", to: "", verdict: new Set(), buffer: "", q: "", sort: "", letters: "" };
const watchers = [];

/** Has `watcher` called with the names of what changed. */
function watch(watcher) {
  watchers.push(watcher);
}

function address() {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    const text = value instanceof Set ? [...value].join(",") : value;
    if (text) fields.set(name, text);
  }
  return `#${fields}`;
}

/** Changes what is shown. With `step` the way back leads to what was shown before. */
function show(change, step = true) {
  const changed = Object.keys(change).filter((name) => String([...state[name]]) !== String([...change[name]]));
  if (!changed.length) return;
  Object.assign(state, change);
  history[step ? "pushState" : "replaceState"](null, "", address());
  for (const watcher of watchers) watcher(changed);
}

function readAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) {
    const text = fields.get(name) ?? "";
    state[name] = name === "verdict" ? new Set(text.split(",").filter((one) => one in VERDICTS)) : text;
  }
}

window.addEventListener("hashchange", followAddress);
window.addEventListener("popstate", followAddress);

function followAddress() {
  if (location.hash === address() || (location.hash === "" && address() === "#")) return;
  const before = { ...state };
  readAddress();
  const changed = Object.keys(state).filter((name) => String([...state[name]]) !== String([...before[name]]));
  for (const watcher of watchers) watcher(changed);
}

/** What must be in a case's text, and what must not (`-word`); "words in quotes" stand together. */
function searchWords(text) {
  const words = text.toLowerCase().match(/-?"[^"]+"|\S+/g) ?? [];
  const clean = (word) => word.replaceAll('"', "");
  return {
    wanted: words.filter((word) => !/^-./.test(word)).map(clean),
    unwanted: words.filter((word) => /^-./.test(word)).map((word) => clean(word.slice(1))),
  };
}

/** What the last search found, by case: it is asked for several times for every letter. */
const matched = { q: undefined, found: undefined };

function matches() {
  if (matched.q !== state.q) {
    const { wanted, unwanted } = searchWords(state.q);
    const match = (text) => wanted.every((word) => text.includes(word)) && !unwanted.some((word) => text.includes(word));
    Object.assign(matched, { q: state.q, found: wanted.length || unwanted.length ? haystacks.map(match) : undefined });
  }
  return matched.found;
}

/** The numbers of the cases that are to be shown; `but` names a filter to be left aside. */
function chosen(but) {
  const verdicts = but !== "verdict" && state.verdict.size ? state.verdict : undefined;
  const from = but !== "pair" && state.from;
  const to = but !== "pair" && state.to;
  const buffer = but !== "buffer" && state.buffer;
  const texts = matches();
  const found = [];
  CASES.forEach((one, at) => {
    if (verdicts && !verdicts.has(one.verdict)) return;
    if ((from && fromOf(one) !== from) || (to && toOf(one) !== to)) return;
    if (buffer && !one.buffers.includes(buffer)) return;
    if (texts && !texts[at]) return;
    found.push(at);
  });
  return found;
}

const ORDER = Object.keys(VERDICTS);

/** `found` in the order that was asked for. */
function sorted(found) {
  const rank = (at) => (CASES[at].refused ? -1 : 0) + ORDER.indexOf(CASES[at].verdict) * 2;
  if (state.sort === "time") return found.sort((one, other) => CASES[other].ms - CASES[one].ms);
  if (state.sort === "run") return found;
  return found.sort((one, other) => rank(one) - rank(other) || one - other);
}
