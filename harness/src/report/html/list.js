// Which cases are chosen? However many there are, only the rows in sight are elements.

const ROW = 48;
const narrow = matchMedia("(max-width: 1060px)");
const list = document.getElementById("list");
let shown = [];
/** The row that the tab key finds. */
let current = 0;
const drawn = new Map();
const spacer = el("div", { class: "spacer", role: "presentation" });
list.append(spacer);

function rowOf(place) {
  const at = shown[place];
  const one = CASES[at];
  const [family, ...claim] = one.name.split("::");
  const pair = one.from || one.to ? `${fromOf(one)} → ${toOf(one)}` : "";
  const facts = [pair, one.buffers.slice(0, 2).join(", "), milliseconds(one.ms)].filter(Boolean).join(" · ");
  const selected = one.name === state.case;
  const refused = one.refused ? "not allowed here: " : "";
  const row = el(
    "div",
    {
      role: "option",
      id: `row-${at}`,
      class: `row is-${one.verdict}`,
      "aria-selected": String(selected),
      "aria-setsize": shown.length,
      "aria-posinset": place + 1,
      tabindex: place === current ? 0 : -1,
    },
    el("span", { class: "mark", title: one.verdict }, el("i", { "aria-hidden": "true" }, VERDICTS[one.verdict].glyph), el("b", { class: "offscreen" }, one.verdict)),
    el("span", { class: "name" }, el("span", { class: "family" }, `${family}::`), claim.join("::")),
    el("span", { class: "line", title: one.line || null }, one.line ? refused + one.line : facts),
    one.files ? el("span", { class: "files", title: "with images or plots" }, "▦") : null,
  );
  row.style.top = `${place * ROW}px`;
  row.addEventListener("click", () => openRow(place, true));
  return row;
}

function openRow(place, step) {
  goTo(place);
  show({ case: CASES[shown[place]].name }, step);
}

/** Makes the row at `place` the one in focus. */
function goTo(place) {
  current = Math.max(0, Math.min(shown.length - 1, place));
  const top = current * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  drawRows();
  drawn.get(current)?.focus({ preventScroll: true });
}

/** Draws the rows in sight, and keeps the one that may have the focus. */
function drawRows(all = false) {
  const first = all ? 0 : Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = all ? shown.length - 1 : Math.min(shown.length - 1, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  for (const [place, row] of drawn) {
    if ((place < first || place > last) && place !== current) {
      row.remove();
      drawn.delete(place);
    }
  }
  const draw = (place) => {
    if (place < 0 || place >= shown.length || drawn.has(place)) return;
    const row = rowOf(place);
    drawn.set(place, row);
    // In the order of the list, for those who read the page without seeing it.
    const after = [...drawn.keys()].filter((other) => other > place).sort((one, other) => one - other)[0];
    list.insertBefore(row, after === undefined ? null : drawn.get(after));
  };
  for (let place = first; place <= last; place += 1) draw(place);
  draw(current);
  for (const [place, row] of drawn) row.tabIndex = place === current ? 0 : -1;
}

function drawList() {
  shown = sorted(chosen());
  for (const row of drawn.values()) row.remove();
  drawn.clear();
  const open = shown.findIndex((at) => CASES[at].name === state.case);
  current = Math.max(0, open);
  spacer.style.height = `${shown.length * ROW}px`;
  list.classList.toggle("none", !shown.length);
  if (open < 0) list.scrollTop = 0;
  else if (current * ROW < list.scrollTop || (current + 1) * ROW > list.scrollTop + list.clientHeight)
    list.scrollTop = Math.max(0, current * ROW - list.clientHeight / 3);
  drawRows();
}

/** Marks the open case without drawing the list again. */
function markOpen() {
  for (const [place, row] of drawn) row.setAttribute("aria-selected", String(CASES[shown[place]].name === state.case));
  const open = shown.findIndex((at) => CASES[at].name === state.case);
  if (open >= 0 && open !== current) {
    current = open;
    const top = open * ROW;
    if (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 3;
    drawRows();
  }
}

/** Opens the case before or behind the open one. */
function openNext(step) {
  const open = shown.findIndex((at) => CASES[at].name === state.case);
  const place = open < 0 ? current : open + step;
  if (place >= 0 && place < shown.length) show({ case: CASES[shown[place]].name }, false);
}

list.addEventListener("scroll", () => drawRows(), { passive: true });
new ResizeObserver(() => drawRows()).observe(list);
list.addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.key in steps) {
    event.preventDefault();
    const place = Math.max(0, Math.min(shown.length - 1, current + steps[event.key]));
    // Where a case hides the list, moving along the list must not open it.
    if (narrow.matches) goTo(place);
    else openRow(place, false);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    if (shown.length) show({ case: CASES[shown[current]].name });
    document.getElementById("show").focus();
  }
});
// On paper nobody scrolls.
window.addEventListener("beforeprint", () => drawRows(true));
window.addEventListener("afterprint", () => drawRows());
