// Who hands buffers to whom, and how does that go? A cell chooses its cases.

function tally(numbers) {
  const counts = {};
  for (const at of numbers) counts[CASES[at].verdict] = (counts[CASES[at].verdict] ?? 0) + 1;
  return counts;
}

function inWords(counts) {
  const words = ORDER.filter((verdict) => counts[verdict]).map((verdict) => `${counts[verdict]} ${verdict}`);
  return words.join(", ") || "no case";
}

/** Counts as glyphs with numbers, and a bar of their shares. */
function tallied(counts) {
  const there = ["pass", "fail", "crash", "timeout", "skip", "known"].filter((verdict) => counts[verdict]);
  const sum = there.reduce((sum, verdict) => sum + counts[verdict], 0);
  let x = 0;
  const bar = svg("svg", { class: "share", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const verdict of there) {
    const width = (100 * counts[verdict]) / sum;
    bar.append(svg("rect", { class: `is-${verdict}`, x, y: 0, width, height: 4 }));
    x += width;
  }
  const numbers = there.map((verdict) =>
    el("span", { class: `count is-${verdict}` }, el("i", { "aria-hidden": "true" }, VERDICTS[verdict].glyph), grouped(counts[verdict])),
  );
  return [el("span", { class: "counts", "aria-hidden": "true" }, numbers), bar];
}

function toneOf(counts) {
  if (ORDER.some((verdict) => VERDICTS[verdict].red && counts[verdict])) return "bad";
  const unsure = counts.known || counts.skip;
  if (counts.pass) return unsure ? "partly" : "good";
  return unsure ? "unsure" : "";
}

function drawMatrix() {
  const cells = new Map();
  const all = chosen("pair");
  const key = (from, to) => `${from} ${to}`;
  for (const at of all) {
    const pair = key(fromOf(CASES[at]), toOf(CASES[at]));
    if (!cells.has(pair)) cells.set(pair, []);
    cells.get(pair).push(at);
  }
  const rows = ROLES.filter((role) => CASES.some((one) => fromOf(one) === role));
  const columns = ROLES.filter((role) => CASES.some((one) => toOf(one) === role));
  const active = document.activeElement?.closest?.("#matrix")
    ? document.activeElement.dataset.pair
    : undefined;
  const buttons = [];
  const button = (from, to, counts, label, ...shown) => {
    const pressed = state.from === from && state.to === to;
    const choose = () => show(pressed ? { from: "", to: "" } : { from, to });
    const attributes = { type: "button", class: toneOf(counts), "aria-label": label, "aria-pressed": String(pressed), "data-pair": key(from, to) };
    return el("button", { ...attributes, click: choose }, shown);
  };
  const devices = (role) => (REPORT.machine.devices[role] ?? []).map((one) => [one.name, one.driver].filter(Boolean).join(", ")).join("; ");
  const head = (role, from, to, scope) => {
    const numbers = all.filter((at) => (!from || fromOf(CASES[at]) === from) && (!to || toOf(CASES[at]) === to));
    const label = `${from ? "exporter" : "importer"} ${role}${devices(role) ? `, ${devices(role)}` : ""}: ${inWords(tally(numbers))}`;
    const made = button(from, to, {}, label, role);
    made.title = devices(role);
    return [el("th", { scope, role: scope === "col" ? "columnheader" : "rowheader" }, made), made];
  };
  const body = el("tbody", { role: "rowgroup" });
  const heads = columns.map((to) => head(to, "", to, "col"));
  buttons.push([undefined, ...heads.map(([, made]) => made)]);
  for (const from of rows) {
    const [th, made] = head(from, from, "", "row");
    const line = [made];
    const row = el("tr", { role: "row" }, th);
    for (const to of columns) {
      const counts = tally(cells.get(key(from, to)) ?? []);
      if (!Object.keys(counts).length) {
        const empty = !CASES.some((one) => fromOf(one) === from && toOf(one) === to);
        row.append(el("td", { role: "gridcell", class: "empty", "aria-label": "no case" }, empty ? "" : "0"));
        line.push(undefined);
        continue;
      }
      const label = `from ${from} to ${to}: ${inWords(counts)}`;
      const cell = button(from, to, counts, label, ...tallied(counts));
      row.append(el("td", { role: "gridcell" }, cell));
      line.push(cell);
    }
    body.append(row);
    buttons.push(line);
  }
  const corner = el("th", { class: "corner" }, el("span", {}, "importer →"), el("span", {}, "exporter ↓"));
  const thead = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, corner, heads.map(([th]) => th)));
  const table = el("table", { role: "grid", "aria-label": "Exporters in rows, importers in columns" }, thead, body);
  document.getElementById("matrix").replaceChildren(table);
  const flat = buttons.flat().filter(Boolean);
  const of = (pair) => flat.find((one) => one.dataset.pair === pair);
  rove(buttons, of(active) ?? of(key(state.from, state.to)) ?? buttons[1]?.find((one, n) => n && one) ?? flat[0]);
  if (active) of(active)?.focus();
}
