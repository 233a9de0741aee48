// Where do planes and memory lie? Drawn to scale from what each mapping recorded.

const WIDE = 900;
/** Room for what stands before and behind a drawing. */
const MARGIN = 8;

/** Mappings of the same storage, together. */
function storages(mappings) {
  const groups = new Map();
  for (const mapping of mappings) {
    const { buffer, frame, heap, segments } = mapping.placement;
    const key = JSON.stringify([buffer, frame, heap, mapping.generation, segments.Ok?.list ?? null]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(mapping);
  }
  return [...groups.values()];
}

const hexOf = (number) => `0x${BigInt(number).toString(16)}`;

function frameText(frame) {
  const planes = frame.planes.map((plane, n) => `plane ${n} offset ${grouped(plane.offset)} B, pitch ${grouped(plane.pitch)} B`);
  return [`${frame.fourcc} ${frame.modifier}`, `${frame.size.width}x${frame.size.height} px`, ...planes].join(", ");
}

/** One storage: what is in it, where it lies, and who mapped it. */
function storageView(mappings) {
  const { placement, generation } = mappings[0];
  const { buffer, frame, heap, segments } = placement;
  const where = segments.Ok;
  const title = `${buffer.exporter ?? "dma-buf"}, ${bytes(buffer.size)}, inode ${buffer.inode}${heap ? `, heap ${heap}` : ""}, storage ${generation}`;
  const source = where && (where.source === "pagemap" ? "pagemap of the memory file: physical addresses" : `scatter list of ${where.source.scatter_list.device}`);
  const many = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;
  const said = where
    ? `${many(where.count, "segment")}, ${source}${where.count > where.list.length ? `; the first ${where.list.length} are kept` : ""}`
    : `addresses not observable: ${segments.Err}`;
  return el(
    "figure",
    { class: "storage" },
    el("figcaption", {}, el("b", {}, title), el("br"), frameText(frame), el("br"), said),
    layoutDrawing(buffer, frame, mappings[0].planes, where),
    where?.list.length ? segmentTable(where) : null,
    mappingTable(mappings),
  );
}

/** The buffer from its first byte to its last: planes above, segments below, and where those lie in the address space. */
function layoutDrawing(buffer, frame, shapes, where) {
  const size = Number(buffer.size) || 1;
  const inner = WIDE - 2 * MARGIN;
  const x = (byte) => MARGIN + (Number(byte) / size) * inner;
  const parts = [];
  const text = (at, y, value, anchor = "start") => svg("text", { x: at, y, "text-anchor": anchor }, value);
  const box = (from, to, y, height, kind, title) => {
    const width = Math.max(1, x(to) - x(from));
    return svg("rect", { x: x(from), y, width, height, class: kind }, svg("title", {}, title));
  };
  const lane = (y, height) => svg("rect", { x: MARGIN, y, width: inner, height, class: "lane" });
  let y = 16;
  parts.push(text(MARGIN, 11, "buffer, byte 0"), text(WIDE - MARGIN, 11, bytes(size), "end"));
  const laneOf = frame.planes.length > 1 && overlapping(frame, shapes) ? (n) => n : () => 0;
  const lanes = laneOf(frame.planes.length - 1) + 1;
  for (let n = 0; n < lanes; n += 1) parts.push(lane(y + n * 24, 22));
  frame.planes.forEach((plane, n) => {
    const at = y + laneOf(n) * 24;
    const shape = shapes?.[n];
    const end = shape ? planeEnd(plane, shape) : n + 1 < frame.planes.length && frame.planes[n + 1].offset > plane.offset ? frame.planes[n + 1].offset : size;
    const known = shape ? `bytes ${grouped(plane.offset)} to ${grouped(end - 1)}` : `from byte ${grouped(plane.offset)}; only the driver knows to where`;
    parts.push(box(plane.offset, Math.min(end, size), at, 22, shape ? `plane p${n % 4}` : "plane guessed", `plane ${n}: ${known}, pitch ${plane.pitch} B`));
    if (x(end) - x(plane.offset) > 60) parts.push(text(x(plane.offset) + 5, at + 15, `plane ${n}${shape ? "" : " …"}`));
    if (end > size) parts.push(text(WIDE - MARGIN - 4, at + 15, "runs past the end!", "end"));
  });
  y += lanes * 24 + 2;
  if (where?.list.length) {
    parts.push(...segmentLanes(where, y, { x, box, lane, text, inner }));
    y += 118;
  }
  const label = `Planes and segments of a buffer of ${bytes(size)}, to scale`;
  const drawing = svg("svg", { class: "drawing", viewBox: `0 0 ${WIDE} ${y}`, role: "img", "aria-label": label }, ...parts);
  return [el("div", { class: "scroll" }, drawing), ...rowDrawings(frame, shapes)];
}

const planeEnd = (plane, shape) => Number(plane.offset) + Number(plane.pitch) * (shape.rows - 1) + shape.row;

function overlapping(frame, shapes) {
  if (!shapes) return true;
  const spans = frame.planes.map((plane, n) => [Number(plane.offset), planeEnd(plane, shapes[n])]).sort((one, other) => one[0] - other[0]);
  return spans.some((span, n) => n && span[0] < spans[n - 1][1]);
}

/** Segments in the order of the buffer's bytes, tied to their places in the order of addresses. */
function segmentLanes(where, y, { x, box, lane, text, inner }) {
  const parts = [lane(y, 16)];
  let offset = 0;
  const segments = where.list.map((segment, n) => {
    const one = { n, from: offset, length: Number(segment.length), address: BigInt(segment.address) };
    offset += one.length;
    return one;
  });
  const behind = [...segments].sort((one, other) => (one.address < other.address ? -1 : 1));
  // A gap that would leave no room for the memory itself is drawn as a break of one width.
  const total = segments.reduce((sum, one) => sum + one.length, 0);
  const lowest = behind[0].address;
  const gapOf = (n) => Number(behind[n].address - (behind[n - 1].address + BigInt(behind[n - 1].length)));
  const gaps = behind.map((_, n) => (n ? Math.max(0, gapOf(n)) : 0));
  const longest = gaps.reduce((sum, gap) => sum + gap, 0) > 24 * total ? total / 2 : Infinity;
  const span = total + gaps.reduce((sum, gap) => sum + Math.min(gap, longest), 0);
  const place = (length) => (length / span) * inner;
  const low = y + 70;
  parts.push(lane(low, 16));
  let at = MARGIN;
  let breaks = 0;
  behind.forEach((one, n) => {
    const gap = Math.min(gaps[n], longest);
    if (gaps[n] > longest) {
      parts.push(svg("rect", { class: "break", x: at, y: low, width: place(gap), height: 16 }, svg("title", {}, `${bytes(gaps[n])} between, not to scale`)));
      breaks += 1;
    }
    at += place(gap);
    const width = Math.max(1, place(one.length));
    const title = `segment ${one.n}: ${bytes(one.length)} at ${hexOf(one.address)}, bytes ${grouped(one.from)} to ${grouped(one.from + one.length - 1)} of the buffer`;
    const kind = `segment s${one.n % 2}`;
    const [left, right] = [x(one.from), Math.max(x(one.from) + 1, x(one.from + one.length))];
    parts.push(svg("path", { class: "tie", d: `M${left} ${y + 16}L${right} ${y + 16}L${at + width} ${low}L${at} ${low}Z` }, svg("title", {}, title)));
    parts.push(box(one.from, one.from + one.length, y, 16, kind, title));
    parts.push(svg("rect", { x: at, y: low, width, height: 16, class: kind }, svg("title", {}, title)));
    at += width;
  });
  const last = behind.at(-1);
  parts.push(text(MARGIN, low + 29, hexOf(lowest)), text(WIDE - MARGIN, low + 29, hexOf(last.address + BigInt(last.length)), "end"));
  const middle = breaks ? `by address; ${breaks} gap${breaks > 1 ? "s" : ""} shortened` : "by address, to scale";
  parts.push(text(WIDE / 2, low + 29, middle, "middle"));
  return parts;
}

/** Rows of each plane, with what lies between the end of a row and the next. */
function rowDrawings(frame, shapes) {
  if (!shapes) return [];
  const most = Math.max(...frame.planes.map((plane) => Number(plane.pitch)), 1);
  const highest = Math.max(...shapes.map((shape) => shape.rows), 1);
  // Bytes are as wide as rows are high times the bytes of a pixel, as on the screen.
  const scale = Math.min(260 / most, (90 * frame.size.width) / (highest * most));
  const high = (scale * most) / frame.size.width;
  return [
    el(
      "div",
      { class: "rows" },
      frame.planes.map((plane, n) => {
        const shape = shapes[n];
        if (!shape) return null;
        const [width, height] = [Number(plane.pitch) * scale, Math.max(2, shape.rows * high)];
        const padding = Number(plane.pitch) - shape.row;
        const text = `plane ${n}: ${grouped(shape.rows)} rows of ${grouped(shape.row)} B, pitch ${grouped(plane.pitch)} B${padding ? ` (${grouped(padding)} B unused)` : ""}`;
        const drawing = svg(
          "svg",
          { class: "plane-rows", viewBox: `0 0 ${width + 2} ${height + 2}`, width: width + 2, height: height + 2, role: "img", "aria-label": text },
          svg("rect", { class: "padding", x: 1, y: 1, width, height }),
          svg("rect", { class: `plane p${n % 4}`, x: 1, y: 1, width: Math.min(width, shape.row * scale), height }),
        );
        return el("figure", {}, drawing, el("figcaption", {}, text));
      }),
    ),
  ];
}

function segmentTable(where) {
  let offset = 0;
  const rows = where.list.map((segment, n) => {
    const row = el("tr", {}, [n, grouped(offset), hexOf(segment.address), bytes(segment.length)].map((cell) => el("td", {}, cell)));
    offset += Number(segment.length);
    return row;
  });
  const head = ["segment", "byte of the buffer", "address", "length"].map((name) => el("th", { scope: "col" }, name));
  return el("details", {}, el("summary", {}, "Scatter list"), el("table", { class: "numbers" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

function mappingTable(mappings) {
  const rows = mappings.map((mapping) => {
    const { kernel_device: device, memory, mapped_by_cpu: cpu } = mapping.placement;
    const type = memory === null ? "" : memory.Ok ? memory.Ok.types.join(" or ") : `not observable: ${memory.Err}`;
    const unchecked = mapping.unchecked.length ? el("span", { class: "is-skip" }, mapping.unchecked.map((why) => el("div", {}, `not checked: ${why}`))) : "";
    const kernel = [device, cpu ? "CPU mmap seen" : ""].filter(Boolean).join(", ");
    const cells = [mapping.device, mapping.access, `${grouped(mapping.times)}×`, mapping.stalled_ms ? `${mapping.stalled_ms.toFixed(2)} ms` : "–", type, kernel, unchecked];
    return el("tr", {}, cells.map((cell) => el("td", {}, cell)));
  });
  const head = ["mapped by", "access", "times", "waited at most", "memory type", "kernel", ""].map((name) => el("th", { scope: "col" }, name));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}
