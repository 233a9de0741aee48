// What is there to know of the run as a whole?

function bullets(title, lines, kind = "") {
  return part(title, lines.length ? el("ul", { class: kind }, lines.map((line) => el("li", {}, line))) : null);
}

function caseLink(name) {
  return el("a", { href: `#${new URLSearchParams({ case: name })}`, click: (event) => {
    event.preventDefault();
    show({ case: name });
  } }, name);
}

function machineFacts() {
  const { machine, lane, wall_ms: wall, timings } = REPORT;
  const rows = [
    ["on", machine.on],
    ["faults", machine.faults ? `${machine.faults}: on purpose, so no verdict is about the machine` : ""],
    ["kernel", machine.kernel ? `Linux ${machine.kernel}${machine.kernel_from ? ` (${machine.kernel_from})` : ""}, log ${machine.kernel_log}` : ""],
    ["Mesa", machine.mesa.join(" and ")],
    ["host", `Linux ${machine.host_kernel}, ${machine.processors} processor${machine.processors === 1 ? "" : "s"}`],
    ...Object.entries(machine.devices).flatMap(([role, devices]) => devices.map((one) => [role, [one.name, one.driver].filter(Boolean).join(", ")])),
    ["lane", lane ?? "none"],
    ...(REPORT.memory ?? []).slice(-1).map((peak) => ["peak memory", ["worker", "supervisor"].map((who) => `${who} ${peak[`${who}_kib`] === null ? "unknown" : bytes(peak[`${who}_kib`] * 1024)}`).join(", ")]),
    ["took", `${(wall / 1000).toFixed(1)} s, ${timings.workers_started} workers${timings.start_to_first_verdict_ms === null ? "" : `, first verdict after ${timings.start_to_first_verdict_ms} ms`}`],
  ];
  return pairsOf(rows.filter(([, text]) => text), String);
}

/** The cases of a verdict by what `keyOf` says of each, the most frequent first. */
function groupedBy(verdict, keyOf) {
  const groups = new Map();
  for (const one of CASES.filter((one) => one.verdict === verdict)) {
    const key = keyOf(one);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return [...groups].sort((one, other) => other[1].length - one[1].length);
}

/** Skips by their reason, with the lane's word on why that is allowed. */
function skips() {
  const keyOf = (one) => `${one.refused ? "not allowed in this lane: " : ""}${one.line}${one.because ? ` (allowed: ${one.because})` : ""}`;
  return groupedBy("skip", keyOf).map(([reason, cases]) =>
    el("details", { class: "skipped" }, el("summary", {}, `${grouped(cases.length)} × ${reason}`), el("ul", {}, cases.map((one) => el("li", {}, caseLink(one.name))))),
  );
}

/** Known defects by the finding that describes them. */
function knownDefects() {
  return groupedBy("known", (one) => one.finding ?? "described nowhere").map(([finding, cases]) =>
    el("details", { class: "known" }, el("summary", {}, `${grouped(cases.length)} × ${finding}`), el("ul", {}, cases.map((one) => el("li", {}, caseLink(one.name), el("div", { class: "quiet" }, one.line))))),
  );
}

function overview() {
  const pairChosen = state.from || state.to;
  const red = CASES.filter((one) => VERDICTS[one.verdict].red);
  const slow = [...CASES].sort((one, other) => other.ms - one.ms).slice(0, 5).filter((one) => one.ms >= 100);
  const findings = red.slice(0, 50).map((one) => [badge(one.verdict), " ", caseLink(one.name), el("div", { class: "quiet" }, one.line)]);
  if (red.length > 50) findings.push(`and ${grouped(red.length - 50)} more: choose “fail”, “crash” or “timeout” beside the search`);
  return [
    pairChosen ? bufferPart() : null,
    bullets("The run could not go on", REPORT.error ? [REPORT.error] : [], "is-fail"),
    bullets("Problems", REPORT.problems, "is-fail"),
    bullets("Findings", findings, "findings"),
    pairChosen ? null : bufferPart(),
    part("Known defects", knownDefects()),
    bullets("Notes", REPORT.notes),
    part("Machine", machineFacts()),
    part("Skipped", skips()),
    part("Constraints that devices told", REPORT.constraints?.length
      ? [...byDevice(REPORT.constraints)].map(([device, told]) => constraintsTable(device, told))
      : el("p", { class: "quiet" }, "No device told any in this run.")),
    ...detectionParts(),
    part("Slowest", slow.length ? el("ul", {}, slow.map((one) => el("li", {}, `${milliseconds(one.ms)}  `, caseLink(one.name)))) : null),
    part("Keys", el("p", { class: "quiet" }, el("span", { id: "single" }, el("kbd", {}, "/"), " search, ", el("kbd", {}, "j"), " and ", el("kbd", {}, "k"), " next and previous case, "), "arrow keys in matrix, list and pictures, ", el("kbd", {}, "Esc"), " back to the overview. The address of this page keeps what is shown."), letters()),
  ].filter(Boolean);
}

/** Turns the keys that are single characters off and on; `markLetters` says which they are. */
function letters() {
  const box = el("input", { type: "checkbox", id: "letters", change: () => show({ letters: box.checked ? "" : "off" }, false) });
  return el("p", {}, el("label", {}, box, " single characters are keys"));
}
