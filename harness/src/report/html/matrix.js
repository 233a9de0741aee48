// Who hands buffers to whom, and how does that go? A cell chooses its cases.

function tally(found) {
  const counts = {};
  for (const at of found) counts[CASES[at].verdict] = (counts[CASES[at].verdict] ?? 0) + 1;
  return counts;
}

function inWords(counts) {
  const words = ORDER.filter((verdict) => counts[verdict]).map((verdict) => `${grouped(counts[verdict])} ${verdict}`);
  return words.join(", ") || "no case";
}

const count = (verdict, number) => el("span", { class: `count is-${verdict}` }, el("i", { "aria-hidden": "true" }, VERDICTS[verdict].glyph), ` ${grouped(number)} ${verdict}`);

const isRed = (verdict) => VERDICTS[verdict].red;

/** The one number that a narrow cell has room for: of what failed, or else of what passed, or else of what there is. */
function shortly(counts) {
  const digits = (number) => (number < 1000 ? String(number) : `${Math.floor(number / 1000)}k`);
  const red = ORDER.filter(isRed).reduce((sum, verdict) => sum + (counts[verdict] ?? 0), 0);
  if (red) return red < 100 ? `✗${red}` : digits(red);
  if (counts.pass) return digits(counts.pass);
  const other = counts.known ? "known" : "skip";
  return `${VERDICTS[other].glyph}${digits(counts[other])}`;
}

function tonesOf(counts) {
  if (ORDER.some((verdict) => isRed(verdict) && counts[verdict])) return "bad";
  return [counts.pass ? "good" : "unsure", counts.known && "some-known", counts.skip && "some-skip"].filter(Boolean).join(" ");
}

const pairKey = (from, to) => `${from} ${to}`;

/** What has cases at all: pairs, exporters and importers. */
const PAIRS = new Set(CASES.flatMap((one) => [pairKey(fromOf(one), toOf(one)), pairKey(fromOf(one), ""), pairKey("", toOf(one))]));
const EXPORTERS = ROLES.filter((role) => PAIRS.has(pairKey(role, "")));
const IMPORTERS = ROLES.filter((role) => PAIRS.has(pairKey("", role)));

function devicesOf(role) {
  return (REPORT.machine.devices[role] ?? []).map((one) => [one.name, one.driver].filter(Boolean).join(", ")).join("; ");
}

const readout = document.getElementById("readout");

/** Says of the cell at which somebody looks what it has no room for; else what the cells mean. */
function readOut(name, counts) {
  const told = name
    ? [el("b", {}, name), ...ORDER.filter((verdict) => counts[verdict]).map((verdict) => count(verdict, counts[verdict]))]
    : ["Cases that pass, or ", el("b", { class: "is-fail" }, "✗"), " fail; ", el("i", { class: "sample some-known" }), " some show a known defect, ", el("i", { class: "sample some-skip" }), " some are skipped"];
  readout.replaceChildren(...told);
}

function drawMatrix() {
  const tallies = new Map();
  const add = (key, verdict) => {
    if (!tallies.has(key)) tallies.set(key, {});
    const counts = tallies.get(key);
    counts[verdict] = (counts[verdict] ?? 0) + 1;
  };
  for (const at of chosen("pair")) {
    const [from, to, verdict] = [fromOf(CASES[at]), toOf(CASES[at]), CASES[at].verdict];
    for (const key of [pairKey(from, to), pairKey(from, ""), pairKey("", to)]) add(key, verdict);
  }
  const active = document.activeElement?.closest?.("#matrix") ? document.activeElement.dataset.pair : undefined;
  const heads = new Map();
  const button = (from, to, shown, tones) => {
    const counts = tallies.get(pairKey(from, to)) ?? {};
    const pressed = state.from === from && state.to === to;
    const device = from && to ? "" : devicesOf(from || to);
    const name = from && to ? `${from} → ${to}` : `${from ? "from" : "to"} ${from || to}${device ? `, ${device}` : ""}`;
    const choose = () => show(pressed ? { from: "", to: "" } : { from, to, case: "" });
    const look = (on) => {
      readOut(on && name, counts);
      if (from && to) for (const head of [pairKey(from, ""), pairKey("", to)]) heads.get(head).classList.toggle("looked-at", on);
    };
    const on = { click: choose, focus: () => look(true), blur: () => look(false), pointerenter: () => look(true), pointerleave: () => look(false) };
    const label = `${name.replace("→", "to")}: ${inWords(counts)}`;
    return el("button", { type: "button", class: tones ? tonesOf(counts) : null, "aria-label": label, "aria-pressed": String(pressed), "data-pair": pairKey(from, to), title: tones ? null : device, ...on }, shown);
  };
  const head = (from, to) => {
    const made = button(from, to, el("span", {}, from || to), false);
    heads.set(pairKey(from, to), made);
    return [el("th", { scope: from ? "row" : "col", role: from ? "rowheader" : "columnheader" }, made), made];
  };
  const columnHeads = IMPORTERS.map((to) => head("", to));
  const buttons = [[undefined, ...columnHeads.map(([, made]) => made)]];
  const rows = EXPORTERS.map((from) => {
    const [th, made] = head(from, "");
    const line = [made];
    const cells = IMPORTERS.map((to) => {
      const counts = tallies.get(pairKey(from, to));
      const cell = counts && button(from, to, shortly(counts), true);
      line.push(cell);
      if (cell) return el("td", { role: "gridcell" }, cell);
      const why = RUN.apart[pairKey(from, to)];
      return el("td", { role: "gridcell", class: "empty", "aria-label": why ? `no case: ${why}` : "no case", title: why }, PAIRS.has(pairKey(from, to)) ? "0" : why ? "·" : "");
    });
    buttons.push(line);
    return el("tr", { role: "row" }, th, cells);
  });
  const corner = el("th", { class: "corner" }, el("span", {}, "importer →"), el("span", {}, "exporter ↓"));
  const thead = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, corner, columnHeads.map(([th]) => th)));
  const table = el("table", { role: "grid", "aria-label": "Exporters in rows, importers in columns" }, thead, el("tbody", { role: "rowgroup" }, rows));
  // Room for a number in each column, and no more than that needs.
  const wide = (column) => `${88 + column * IMPORTERS.length}px`;
  [table.style.minWidth, table.style.maxWidth] = [wide(23.6), wide(64)];
  document.getElementById("matrix").replaceChildren(table);
  readOut();
  const flat = buttons.flat().filter(Boolean);
  const of = (pair) => flat.find((one) => one.dataset.pair === pair);
  rove(buttons, of(active) ?? of(pairKey(state.from, state.to)) ?? buttons[1]?.find((one, n) => n && one) ?? flat[0]);
  if (active) of(active)?.focus();
}
