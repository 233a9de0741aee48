// Which faults that were done on purpose did cases see? The table of `handover faults`, if it lies beside the report.

const ENDINGS = {
  detected: { word: "detected", kind: "is-pass" },
  quiet: { word: "let pass", kind: "is-pass" },
  not_fired: { word: "not fired", kind: "is-skip" },
  unnamed: { word: "not named", kind: "is-fail" },
  missed: { word: "missed", kind: "is-fail" },
  alarm: { word: "alarm", kind: "is-fail" },
  broken: { word: "not tried", kind: "is-fail" },
};

/** Who saw a fault, each with what it said. */
function seenBy(row) {
  const by = row.cases.filter((one) => one.sees).sort((one, other) => other.names - one.names || other.claims - one.claims);
  const lines = by.map((one) => el("li", {}, el("details", {}, el("summary", {}, el("code", {}, one.name), one.names ? "" : " (does not name the culprit)", one.own === false ? " (not by what it claims)" : "", one.second ? " (at a second try)" : "", one.fired === 0 ? " (by what was done before it began)" : "", el("div", { class: "quiet" }, one.said)), el("pre", {}, one.message))));
  const blind = row.cases.filter((one) => one.claims && !one.sees).map((one) => el("li", {}, el("code", {}, one.name), ` claims to see it, but ended with ${one.verdict}`));
  const lost = row.cases.filter((one) => one.lost).map((one) => el("li", {}, el("code", {}, one.name), ` is skipped, and is not without: ${one.said}`));
  const hung = row.cases.filter((one) => one.hangs).map((one) => el("li", {}, el("code", {}, one.name), ` hangs, and does not without: ${one.said}`));
  const gap = row.gap && !by.length ? el("li", {}, `gap: ${row.gap}`) : null;
  const error = row.error ? el("li", {}, row.error) : null;
  return el("ul", {}, lines, blind, lost, hung, gap, error);
}

function detectionRow(row) {
  const ending = ENDINGS[row.ending] ?? { word: row.ending, kind: "is-fail" };
  const times = row.tries > 1 ? ` ${row.as_it_should} of ${row.tries} times` : "";
  const about = el("td", {}, el("b", {}, row.name), row.id ? ` (${row.id})` : "", el("div", { class: "quiet" }, `${row.what}; when: ${row.trigger}; as: ${row.modelled_on}`));
  const numbers = [row.fired, row.ran, row.failed, row.passed_by].map((number) => el("td", {}, grouped(number)));
  return el("tr", {}, el("td", {}, el("span", { class: `badge ${ending.kind}` }, ending.word), times), about, el("td", {}, row.class.replaceAll("_", " ")), numbers, el("td", {}, seenBy(row)));
}

/** The table of one kind: faults must be detected, controls must let every case be as it is without. */
function detectionTable(kind, title) {
  const rows = RUN.detection.rows.filter((row) => row.kind === kind);
  if (!rows.length) return null;
  const right = rows.filter((row) => row.ending === "detected" || row.ending === "quiet").length;
  const head = el("tr", {}, ["", kind, "class", "fired", "ran", "failed", "passed by", "seen by"].map((name) => el("th", { scope: "col" }, name)));
  const caption = el("caption", {}, el("b", {}, `${right} of ${rows.length} ${title}`));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, el("table", { class: "constraints detection" }, caption, el("thead", {}, head), el("tbody", {}, rows.map(detectionRow))));
}

/** Of how many cases of each claim it is known that a fault fails them. */
function failedCases(tallies) {
  const claims = Object.entries(tallies ?? {});
  if (!claims.length) return null;
  const sum = (of) => claims.reduce((all, [, tally]) => all + tally[of], 0);
  const lines = claims.map(([claim, tally]) => el("li", {}, el("code", {}, claim), ` ${grouped(tally.failed)} of ${grouped(tally.cases)}`));
  return el("details", {}, el("summary", {}, `${grouped(sum("failed"))} of ${grouped(sum("cases"))} cases failed under a fault that was tried, ${grouped(sum("own"))} of them by what they claim`), el("ul", {}, lines));
}

/** How many claims have a fault that fails them, and what the others have. */
function killersPart({ claims, by_fault, by_defect, by_nothing }, tallies) {
  if (!claims) return null;
  const listed = [[by_defect, "fails by a defect that is listed"], [by_nothing, "has none"]];
  const others = listed.flatMap(([names, text]) => names.map((claim) => el("li", {}, el("code", {}, claim), ` ${text}`)));
  return part("What fails each claim", el("p", {}, `${grouped(by_fault)} of ${grouped(claims)} claims have a fault that fails them.`), failedCases(tallies), el("ul", {}, others));
}

function detectionParts() {
  if (!RUN.detection) return [];
  const { problems, warnings, unkilled, killers, claims, interrupted, missing } = RUN.detection;
  if (missing) return [bullets("The table of faults cannot be shown", [missing], "is-fail")];
  return [
    interrupted ? bullets("The table of faults is not whole", ["It was interrupted: what had not been tried by then is not in it."], "is-fail") : null,
    bullets("What is wrong with the table of faults", problems, "is-fail"),
    bullets("What is not as it should be of it", warnings ?? []),
    part("Faults done on purpose", detectionTable("fault", "faults detected"), detectionTable("control", "controls let pass")),
    bullets("Claims that no fault made fail", unkilled ?? []),
    killersPart(killers, claims),
  ];
}
