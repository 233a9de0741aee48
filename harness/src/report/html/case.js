// What happened in one case? Finding first, then what proves it.

const pane = document.getElementById("show");
/** Ends what the case before keeps running. */
let leaving = new AbortController();

function badge(verdict) {
  return el("span", { class: `badge is-${verdict}` }, el("i", { "aria-hidden": "true" }, VERDICTS[verdict].glyph), verdict);
}

function part(title, ...content) {
  const there = content.flat(Infinity).filter(Boolean);
  return there.length ? el("section", { class: "part" }, el("h2", {}, title), there) : null;
}

/** A finding as the harness words it: a sentence, and rows of a label and a text. */
function finding(text) {
  const blocks = [];
  let rows;
  let before = "";
  for (const line of text.split("\n")) {
    const row = /^ {2}(\S(?:.*?\S)?) {2,}(\S.*)$/.exec(line);
    const more = /^ {14}(.*)$/.exec(line);
    if (more && rows) {
      // Wrapped lines are long ones; others are lines of their own.
      const last = rows.lastChild;
      last.append((before.length > 95 ? " " : "\n") + more[1]);
    } else if (row) {
      if (!rows) blocks.push((rows = el("dl", { class: "facts" })));
      rows.append(el("dt", {}, row[1]), el("dd", {}, row[2]));
    } else if (line.trim()) {
      rows = undefined;
      const last = blocks.at(-1);
      if (last?.tagName === "P" && before.trim()) last.append(`\n${line}`);
      else blocks.push(el("p", { class: blocks.length ? "said" : "said first" }, line));
    }
    before = line;
  }
  return blocks;
}

function sideText(side) {
  if (!side) return el("span", { class: "quiet" }, "none");
  const device = side.device ? [side.device.name, side.device.driver].filter(Boolean).join(", ") : "nobody answered";
  return [el("b", {}, side.role), " ", el("span", { class: "quiet" }, device)];
}

/** Pictures and plots, by the reader that left them. */
function artifacts(all) {
  const readers = new Map();
  const other = [];
  const out = [];
  for (const artifact of all.artifacts) {
    if (artifact.file === undefined) out.push(el("li", {}, fileLink(artifact.path), el("span", { class: "quiet" }, ` not in this page: ${artifact.why}`)));
    const parts = artifact.path.split("/");
    const name = parts.pop();
    const role = /^(target|actual|diff)\.png$/.exec(name)?.[1];
    if (artifact.file === undefined) continue;
    if (role) {
      // Behind `cases` and the case's own folder; of a second try, two names.
      const reader = parts.slice(2).join(" ") || parts.at(-1);
      readers.set(reader, { ...readers.get(reader), [role]: artifact });
    } else other.push(artifact);
  }
  return [
    part("Pixels", [...readers].map(([reader, files]) => viewer(reader.replaceAll("_", " "), files, leaving.signal))),
    part("Plots", other.map(({ path, file }) => el("figure", { class: "plot" }, el("img", { src: dataUrl(path, file), alt: path }), el("figcaption", {}, fileLink(path))))),
    part("Files", out.length ? [el("ul", { class: "files-out" }, out), shownLike(all)] : null),
  ];
}

function pairsOf(entries, text) {
  return entries.length ? el("dl", { class: "facts" }, entries.map(([name, value]) => [el("dt", {}, name), el("dd", {}, text(value))])) : null;
}

function attempts(all) {
  if (all.attempts.length < 2) return null;
  return all.attempts.map((one, n) =>
    el(
      "details",
      {},
      el("summary", {}, n ? "Repeated in a fresh worker: " : "First: ", badge(one.verdict), ` ${milliseconds(one.duration_ms)}`),
      finding(one.text || "no finding"),
      one.ran_before.length ? [el("p", {}, "The worker had run before, in this order:"), el("pre", {}, one.ran_before.join("\n"))] : null,
    ),
  );
}

/** Cases of the same defect whose pictures are in the page. */
function shownLike(all) {
  if (all.verdict !== "known") return null;
  const like = CASES.filter((one) => one.finding === all.reason && one.files && one.name !== all.name).slice(0, 3);
  return like.length ? el("p", {}, "Pictures of this defect that are in the page:", el("ul", {}, like.map((one) => el("li", {}, caseLink(one.name))))) : null;
}

function caseView(all) {
  const again = el("div", { class: "again" }, el("code", { tabindex: 0 }, all.again), copyButton(all.again, "command"));
  const reason = all.reason && el("p", { class: "reason" }, all.verdict === "known" ? "known: " : "", all.verdict === "known" ? maybeLink(all.reason) : all.reason, all.allowed === false ? " (not allowed in this lane)" : "", all.because ? el("div", { class: "quiet because" }, `allowed in this lane: ${all.because}`) : null);
  const unobserved = Object.entries(all.unobserved ?? {});
  const more = (name, step) => el("button", { type: "button", click: () => openNext(step), "aria-label": `${name} case` }, step < 0 ? "▴" : "▾");
  const [family, ...claim] = all.name.split("::");
  return [
    el(
      "div",
      { class: "bar" },
      el("button", { type: "button", class: "back", click: () => show({ case: "" }) }, "← Overview"),
      more("Previous", -1),
      more("Next", 1),
    ),
    el("h2", { class: "title" }, badge(all.verdict), " ", el("span", { class: "name" }, el("span", { class: "family" }, `${family}::`), claim.join("::"))),
    el("p", { class: "sides" }, sideText(all.exporter), el("span", { class: "arrow" }, " → "), sideText(all.importer), el("span", { class: "quiet" }, ` · ${milliseconds(all.duration_ms)}`)),
    again,
    reason,
    all.message ? el("div", { class: `finding is-${all.verdict}` }, finding(all.message)) : null,
    artifacts(all),
    part("Tries", attempts(all)),
    // A finding has them among its rows.
    part("Facts", all.message ? null : pairsOf(all.facts ?? [], String)),
    part("Figures", pairsOf(Object.entries(all.figures), (value) => String(Number(value.toPrecision(6))))),
    part("Not observed", pairsOf(unobserved, String)),
    part("Planes and memory", storages(all.mappings).map(storageView)),
    part("Constraints of these devices", constraintsOf(all)),
    part("Kernel log", all.kernel_log.length ? el("pre", { class: "log", tabindex: 0 }, all.kernel_log.join("\n")) : null),
    part("What the worker printed", all.output ? el("pre", { class: "log", tabindex: 0 }, all.output) : null),
    part("Goldens written", all.blessed.length ? el("pre", {}, all.blessed.join("\n")) : null),
  ].flat(Infinity).filter(Boolean);
}

/** Shows the case or the overview; with `moved` that is where the reader has gone. */
async function drawCase(moved) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const at = numbers.get(state.case);
  document.body.classList.toggle("reading", Boolean(state.case));
  if (at !== undefined) {
    if (document.readyState === "loading") pane.replaceChildren(el("p", { class: "quiet" }, "reading…"));
    const all = await details(at);
    // Somebody may have gone on meanwhile.
    if (signal.aborted) return;
    pane.replaceChildren(...caseView(all));
  } else if (state.case) {
    const back = el("button", { type: "button", click: () => show({ case: "" }) }, "← Overview");
    pane.replaceChildren(el("div", { class: "bar" }, back), el("p", {}, "This report has no case ", el("code", {}, state.case), "."));
  } else pane.replaceChildren(...overview());
  pane.scrollTop = 0;
  if (!moved || !narrow.matches) return;
  // What had the focus may be hidden now.
  window.scrollTo(0, 0);
  if (state.case) pane.focus();
  else drawn.get(current)?.focus();
}
