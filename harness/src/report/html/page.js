// How do the parts come together?

function drawTotals() {
  const counts = tally(CASES.keys());
  const red = ORDER.some((verdict) => VERDICTS[verdict].red && counts[verdict]);
  const bad = red || REPORT.error || REPORT.problems.length;
  const word = REPORT.interrupted ? "interrupted" : bad ? "red" : "green";
  const written = RUN.written_ms === null ? "" : new Date(RUN.written_ms).toLocaleString();
  const notRun = REPORT.summary.not_run;
  const text = `${grouped(CASES.length)} of ${grouped(REPORT.summary.selected)} cases in ${(REPORT.wall_ms / 1000).toFixed(1)} s on ${REPORT.machine.on === "host" ? "the host" : `the ${REPORT.machine.on}`}`;
  document.getElementById("totals").replaceChildren(
    el("span", { class: `badge ${word === "green" ? "is-pass" : word === "red" ? "is-fail" : "is-skip"}` }, word),
    el("span", {}, text, notRun ? `, ${grouped(notRun)} not run` : ""),
    REPORT.machine.faults ? el("span", { class: "badge is-fail" }, `under faults done on purpose (${REPORT.machine.faults})`) : "",
    el("span", { class: "quiet" }, [REPORT.machine.kernel && `Linux ${REPORT.machine.kernel}`, REPORT.lane && `lane ${REPORT.lane}`, written].filter(Boolean).join(" · ")),
  );
}

const filters = document.getElementById("filters");
const search = el("input", { type: "search", id: "search", "aria-label": "Search", autocomplete: "off", spellcheck: "false" });
const verdicts = el("div", { class: "group", role: "group", "aria-label": "Verdicts" });
const buffer = el("select", { id: "buffer", "aria-label": "Buffers" });
const order = el("select", { id: "sort", "aria-label": "Order" }, [["", "findings first"], ["run", "as registered"], ["time", "slowest first"]].map(([value, name]) => el("option", { value }, name)));
const result = el("p", { id: "result" });
filters.append(search, verdicts, result, buffer, order);

/** Offers a single character as a key only where it is one. */
function markLetters() {
  const off = state.letters === "off";
  search.placeholder = `Search names, findings, kernel log …${off ? "" : " (/)"}`;
  const [box, keys] = ["letters", "single"].map((id) => document.getElementById(id));
  if (box) [box.checked, keys.hidden] = [!off, off];
}

function drawFilters() {
  if (search.value !== state.q) search.value = state.q;
  const counts = tally(chosen("verdict"));
  const all = tally(CASES.keys());
  const focused = verdicts.contains(document.activeElement) ? document.activeElement.dataset.verdict : undefined;
  verdicts.replaceChildren(
    ...ORDER.filter((verdict) => all[verdict]).map((verdict) => {
      const on = state.verdict.has(verdict);
      const toggle = () => {
        const next = new Set(state.verdict);
        if (!next.delete(verdict)) next.add(verdict);
        show({ verdict: next });
      };
      return el("button", { type: "button", class: `is-${verdict}`, "aria-pressed": String(on), "data-verdict": verdict, click: toggle }, el("i", { "aria-hidden": "true" }, VERDICTS[verdict].glyph), `${verdict} `, el("b", {}, grouped(counts[verdict] ?? 0)));
    }),
  );
  if (focused) verdicts.querySelector(`[data-verdict="${focused}"]`)?.focus();
  drawBuffers();
  order.value = state.sort;
}

/** Which buffers the chosen cases are about, and how those went. */
function drawBuffers() {
  const formats = new Map();
  for (const at of chosen("buffer")) {
    for (const pair of CASES[at].buffers) {
      if (!formats.has(pair)) formats.set(pair, []);
      formats.get(pair).push(at);
    }
  }
  if (state.buffer && !formats.has(state.buffer)) formats.set(state.buffer, []);
  const options = [...formats].sort().map(([pair, numbers]) => el("option", { value: pair }, `${pair}: ${inWords(tally(numbers))}`));
  buffer.replaceChildren(el("option", { value: "" }, `all buffers (${formats.size})`), ...options);
  buffer.value = state.buffer;
}

function drawResult() {
  const set = state.from || state.to || state.buffer || state.q || state.verdict.size;
  const text = `${grouped(shown.length)} of ${grouped(CASES.length)} cases`;
  const clear = el("button", { type: "button", id: "clear", click: () => show({ from: "", to: "", buffer: "", q: "", verdict: new Set() }) }, "Show all");
  result.replaceChildren(el("span", {}, text), set ? clear : "");
  say(text);
}

filters.addEventListener("submit", (event) => event.preventDefault());
let typing;
const searchNow = () => {
  clearTimeout(typing);
  show({ q: search.value.trim() }, false);
};
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(searchNow, CASES.length > 1000 ? 120 : 30);
});
search.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  // The list must not be drawn again after a row of it has the focus.
  searchNow();
  if (shown.length) goTo(current);
});
buffer.addEventListener("change", () => show({ buffer: buffer.value }));
order.addEventListener("change", () => show({ sort: order.value }));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "Escape" && state.case) show({ case: "" });
  // Whoever speaks in place of typing would call them by any word.
  if (state.letters === "off") return;
  if (event.key === "/") {
    event.preventDefault();
    search.select();
  } else if (event.key === "j" || event.key === "k") openNext(event.key === "j" ? 1 : -1);
});

function drawChoice() {
  drawFilters();
  drawMatrix();
  drawList();
  drawResult();
}

watch((changed) => {
  const filtered = changed.some((name) => name !== "case");
  if (filtered) drawChoice();
  else markOpen();
  // The overview begins with the pair that is chosen.
  const pair = changed.includes("from") || changed.includes("to");
  if (changed.includes("case") || (pair && !state.case)) drawCase(changed.includes("case"));
  markLetters();
});

readAddress();
drawTotals();
drawChoice();
drawCase(Boolean(state.case));
markLetters();
prepareSearch().then(() => {
  // Until now a search has looked through the list alone.
  if (state.q) drawChoice();
});
