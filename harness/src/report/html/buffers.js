// Which buffers does an importer accept from an exporter, and are their pixels right?

/** What became of a buffer: by the worst that its cases say. */
function outcome(counts) {
  const red = ORDER.find((verdict) => isRed(verdict) && counts[verdict]);
  if (red) return ["fail", "wrong"];
  if (counts.known) return ["known", counts.pass ? "known defect in some" : "known defect"];
  return counts.pass ? ["pass", "right"] : ["skip", "not possible"];
}

/** Of the cases `found`, by format and modifier; those that are about no buffer in particular come last. */
function byBuffer(found) {
  const groups = new Map();
  for (const at of found) {
    for (const buffer of CASES[at].buffers.length ? CASES[at].buffers : [""]) {
      if (!groups.has(buffer)) groups.set(buffer, []);
      groups.get(buffer).push(at);
    }
  }
  const kinds = ["fail", "known", "pass", "skip"];
  const ranked = [...groups].map(([buffer, cases]) => ({ buffer, cases, counts: tally(cases) }));
  const rank = ({ buffer, counts }) => (buffer ? kinds.indexOf(outcome(counts)[0]) : kinds.length);
  return ranked.sort((one, other) => rank(one) - rank(other) || (one.buffer < other.buffer ? -1 : 1));
}

/** What cases say that do not pass, each once. */
function saying(cases) {
  const lines = new Map();
  for (const verdict of ORDER.filter((verdict) => verdict !== "pass")) {
    for (const at of cases) {
      const one = CASES[at];
      if (one.verdict !== verdict) continue;
      const line = verdict === "known" ? `${one.line} (${one.finding})` : one.line;
      if (!lines.has(line)) lines.set(line, { verdict, times: 0 });
      lines.get(line).times += 1;
    }
  }
  const all = [...lines].map(([line, { verdict, times }]) => el("div", { class: `is-${verdict}` }, el("i", { "aria-hidden": "true" }, `${VERDICTS[verdict].glyph} `), el("span", {}, times > 1 ? `${grouped(times)} × ` : "", line)));
  if (all.length < 4) return all;
  return [...all.slice(0, 2), el("details", {}, el("summary", {}, `${all.length - 2} more`), all.slice(2))];
}

function bufferRow({ buffer, cases, counts }) {
  const [kind, word] = buffer ? outcome(counts) : ["", ""];
  const number = (verdict) => {
    if (!counts[verdict]) return el("td", {});
    const choose = () => show({ buffer, verdict: new Set([verdict]) });
    const text = grouped(counts[verdict]);
    return el("td", {}, buffer ? el("button", { type: "button", class: `is-${verdict}`, "aria-label": `${text} ${verdict}: list them`, click: choose }, text) : text);
  };
  const name = buffer ? el("code", {}, buffer) : el("span", { class: "quiet" }, "no buffer in particular");
  const result = word ? el("span", { class: `is-${kind}` }, el("i", { "aria-hidden": "true" }, `${VERDICTS[kind].glyph} `), word) : "";
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "outcome" }, result), there.map(number), el("td", {}, saying(cases)));
}

/** Verdicts that this run has, the good one first. */
const there = [...ORDER].reverse().filter((verdict) => CASES.some((one) => one.verdict === verdict));

function bufferTable(found) {
  const heads = [el("th", { scope: "col" }, "buffer"), el("th", { scope: "col" }, "pixels"), ...there.map((verdict) => el("th", { scope: "col" }, verdict)), el("th", { scope: "col" }, "what those say that do not pass")];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Buffers" }, el("table", { class: "buffers" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, byBuffer(found).map(bufferRow))));
}

/** Buffers of the chosen pair; of the whole run only if somebody wants them, since that is a long table. */
function bufferPart() {
  const { from, to } = state;
  if (from || to) {
    const found = CASES.map((_, at) => at).filter((at) => (!from || fromOf(CASES[at]) === from) && (!to || toOf(CASES[at]) === to));
    const counts = tally(found);
    const title = from && to ? `${from} → ${to}` : from ? `from ${from} to anybody` : `from anybody to ${to}`;
    const told = ORDER.filter((verdict) => counts[verdict]).map((verdict) => count(verdict, counts[verdict]));
    const devices = [...new Set([from, to])].filter(devicesOf).map((role) => el("p", {}, el("b", {}, role), " ", el("span", { class: "quiet" }, devicesOf(role))));
    return part(title, devices, el("p", { class: "told" }, told), bufferTable(found));
  }
  const body = el("div");
  const all = el("details", {}, el("summary", {}, `All ${grouped(buffers.length)} kinds of buffers, whoever hands them over`), body);
  all.addEventListener("toggle", () => {
    if (all.open && !body.firstChild) body.append(bufferTable(CASES.keys()));
  });
  return part("Buffers", el("p", { class: "quiet" }, "Choose a cell of the matrix: which buffers does its importer accept from its exporter, and are the pixels right?"), all);
}

const buffers = [...new Set(CASES.flatMap((one) => one.buffers))];
