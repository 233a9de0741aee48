// Are the pixels right? Target, actual and difference side by side, in turn or under a slider, and the values of each pixel.

const VIEWS = { side: "Side by side", flicker: "Flicker", swipe: "Swipe" };
const ZOOMS = ["fit", 1, 2, 4, 8, 16];
/** Pixels across the magnified part, and how large each is drawn. */
const LENS = { pixels: 13, size: 10 };
/** Two changes in a second: slow enough for eyes that flashes harm. */
const FLICKER_MS = 500;
/** How high a picture is drawn unless somebody zooms, in CSS pixels. */
const FIT_HEIGHT = 420;

/** How people like to look at pictures, for as long as the page is open. */
const liking = { view: "side", zoom: "fit", look: "RGB" };

/** As findings write it: so many digits as the channel's bits need. */
const hex = (value, full) => value.toString(16).padStart(full.toString(16).length, "0");

/** Pictures that one reader left: `files` are those that are in the page, by what they show. */
function viewer(reader, files, stopped) {
  const root = el("section", { class: "viewer", "aria-label": `Pixels: ${reader}` }, el("h3", {}, reader), el("p", { class: "quiet" }, "decoding…"));
  decodeAll(files)
    .then((pictures) => stopped.aborted || new Viewer(root, reader, pictures, stopped))
    .catch((error) => {
      const plain = Object.entries(files).map(([name, { path, file }]) => el("figure", {}, el("figcaption", {}, name), el("img", { src: dataUrl(path, file), alt: `${reader}, ${name}` })));
      root.replaceChildren(el("h3", {}, reader), el("p", { class: "quiet" }, `Values of pixels cannot be shown: ${error.message}.`), el("div", { class: "panes" }, plain));
    });
  return root;
}

async function decodeAll(files) {
  const entries = Object.entries(files).map(async ([name, { file }]) => [name, await decodePng(bytesOf(base64Of(file)))]);
  return Object.fromEntries(await Promise.all(entries));
}

class Viewer {
  constructor(root, reader, pictures, stopped) {
    Object.assign(this, { root, reader, pictures, ...liking, playing: false, turn: "target", split: 50, held: false });
    this.names = ["target", "actual", "diff"].filter((name) => pictures[name]);
    const first = pictures[this.names[0]];
    [this.width, this.height] = [first.width, first.height];
    this.same = this.names.every((name) => pictures[name].width === this.width && pictures[name].height === this.height);
    this.both = this.same && pictures.target && pictures.actual;
    this.wrong = this.both ? differences(pictures.target, pictures.actual) : [];
    if (!this.both) this.view = "side";
    const start = this.wrong[0] ?? 0;
    [this.x, this.y] = [start % this.width, Math.floor(start / this.width)];
    this.canvases = Object.fromEntries(this.names.map((name) => [name, el("canvas", { role: "img", "aria-label": `${reader}: ${name}` })]));
    this.paintAll();
    this.lenses = Object.fromEntries(this.names.map((name) => [name, el("canvas", { width: LENS.pixels * LENS.size, height: LENS.pixels * LENS.size, "aria-hidden": "true" })]));
    this.stage = el("div", { class: "stage" });
    this.values = el("div");
    const jump = (name, step, label) => {
      const button = el("button", { type: "button", "data-tool": `jump ${step}`, "aria-label": label, click: () => this.jump(step) }, name);
      button.disabled = !this.wrong.length;
      return button;
    };
    this.place = el("span");
    this.jumps = el("p", { class: "place" }, this.place, jump("◂", -1, "Previous difference"), jump("▸", 1, "Next difference"));
    this.build();
    this.timer = setInterval(() => this.tick(), FLICKER_MS);
    this.sizes = new ResizeObserver(() => this.layOut());
    this.sizes.observe(this.stage);
    stopped.addEventListener("abort", () => {
      clearInterval(this.timer);
      this.sizes.disconnect();
    });
  }

  paintAll() {
    // The difference is a drawing already.
    for (const name of this.names) paint(this.pictures[name], this.canvases[name], name === "diff" ? "RGB" : this.look);
  }

  build() {
    const { pictures, width, height } = this;
    const fourcc = pictures.target?.fourcc || pictures.actual?.fourcc;
    const count = this.both
      // A finding counts those alone that are further off than is allowed, which the pictures do not tell.
      ? `${grouped(this.wrong.length)} of ${grouped(width * height)} pixels are not equal`
      : this.same ? "only one picture: nothing to compare" : "the pictures differ in size";
    const sort = `${width}x${height} px${fourcc ? `, ${fourcc}` : ""}, ${pictures[this.names[0]].most > 255 ? 16 : 8} bits a channel`;
    this.tools = el("div", { class: "tools", role: "toolbar", "aria-label": "How to look at the pictures" });
    const lenses = el("div", { class: "lenses" }, this.names.map((name) => el("figure", {}, el("figcaption", {}, name), this.lenses[name])));
    const help = "Point at a pixel, or focus a picture and move with the arrow keys (Shift: 10 px). Click or Enter holds the pixel. N and P: next and previous difference. + and −: zoom. Space: flicker.";
    this.root.replaceChildren(
      el("h3", {}, this.reader, " ", el("span", { class: "quiet" }, `${sort}; ${count}`)),
      this.tools,
      this.stage,
      el("div", { class: "inspector" }, lenses, el("div", { class: "values" }, this.jumps, this.values)),
      el("p", { class: "quiet help" }, help),
    );
    this.drawTools();
    this.drawStage();
    this.magnify();
  }

  drawTools() {
    const pick = (what, name, on, choose) => el("button", { type: "button", "aria-pressed": String(on), "data-tool": what, click: choose }, name);
    const group = (name, ...buttons) => el("div", { class: "group", role: "group", "aria-label": name }, ...buttons);
    const views = Object.entries(VIEWS).map(([view, name]) => {
      const button = pick(`view ${view}`, name, this.view === view, () => this.set({ view }));
      button.disabled = !this.both && view !== "side";
      return button;
    });
    const zooms = ZOOMS.map((zoom) => pick(`zoom ${zoom}`, zoom === "fit" ? "Fit" : `${zoom}×`, this.zoom === zoom, () => this.set({ zoom })));
    const looks = LOOKS.map((look) => pick(`look ${look}`, look, this.look === look, () => this.set({ look })));
    const focused = document.activeElement?.dataset?.tool;
    this.tools.replaceChildren(group("View", views), group("Zoom", zooms), group("Channels", looks));
    if (focused) this.tools.querySelector(`[data-tool="${CSS.escape(focused)}"]`)?.focus();
  }

  set(change) {
    Object.assign(this, change);
    for (const name of Object.keys(liking)) liking[name] = this[name];
    if ("look" in change) this.paintAll();
    this.drawTools();
    this.drawStage();
    this.magnify();
    this.reveal();
  }

  /** One picture that can be pointed at: canvases that lie on each other, and a frame around the pixel in question. */
  pane(caption, canvases, ...more) {
    const cursor = el("div", { class: "cursor" });
    const sheet = el("div", { class: `sheet${this.look === "RGBA" ? " chequers" : ""}` }, canvases, cursor);
    const label = `${this.reader}: ${typeof caption === "string" ? caption : this.view}. Arrow keys move the pixel whose values are shown.`;
    const frame = el("div", { class: "frame", tabindex: 0, role: "application", "aria-label": label }, sheet);
    const at = (event) => {
      const box = sheet.getBoundingClientRect();
      const inside = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));
      return [inside(((event.clientX - box.left) / box.width) * this.width, this.width), inside(((event.clientY - box.top) / box.height) * this.height, this.height)];
    };
    frame.addEventListener("pointermove", (event) => {
      if (!this.held) this.moveTo(...at(event));
    });
    frame.addEventListener("click", (event) => {
      this.held = !this.held;
      this.moveTo(...at(event));
    });
    frame.addEventListener("keydown", (event) => this.key(event));
    frame.addEventListener("scroll", () => {
      for (const other of this.stage.querySelectorAll(".frame")) {
        if (other !== frame) [other.scrollLeft, other.scrollTop] = [frame.scrollLeft, frame.scrollTop];
      }
    }, { passive: true });
    return el("figure", { class: "pane" }, el("figcaption", {}, caption), frame, ...more);
  }

  drawStage() {
    const { canvases } = this;
    for (const canvas of Object.values(canvases)) [canvas.style.clipPath, canvas.hidden] = ["", false];
    const hadFocus = this.stage.contains(document.activeElement) && document.activeElement.classList.contains("frame");
    if (this.view === "flicker") {
      this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.turned = el("b", { class: "turn" });
      const play = el("button", { type: "button", class: "play", click: () => this.play(!this.playing) });
      const turn = el("button", { type: "button", class: "swap", click: () => { this.play(false); this.swap(); } }, "Swap");
      this.stage.replaceChildren(this.pane(this.turned, [canvases.target, canvases.actual], el("div", { class: "tools" }, play, turn)));
      this.playButton = play;
      this.play(this.playing);
      this.swap("target");
    } else if (this.view === "swipe") {
      const range = el("input", { type: "range", min: 0, max: 100, step: 0.5, value: this.split, "aria-label": "Where target ends and actual begins, in percent of the width" });
      const split = () => {
        this.split = Number(range.value);
        canvases.actual.style.clipPath = `inset(0 0 0 ${this.split}%)`;
        range.setAttribute("aria-valuetext", `${Math.round(this.split)} % target`);
      };
      range.addEventListener("input", split);
      split();
      this.stage.replaceChildren(this.pane("target | actual", [canvases.target, canvases.actual], range));
    } else {
      this.stage.replaceChildren(...this.names.map((name) => this.pane(name, [canvases[name]])));
    }
    this.layOut();
    if (hadFocus) this.stage.querySelector(".frame").focus();
  }

  /** Gives every picture the size of the zoom. */
  layOut() {
    const panes = this.stage.querySelectorAll(".pane");
    const columns = Math.max(1, Math.min(panes.length, Math.floor(this.stage.clientWidth / 180)));
    this.stage.style.setProperty("--columns", columns);
    const room = (this.stage.clientWidth - 10 * (columns - 1)) / columns - 3;
    const scale = this.zoom === "fit" ? Math.min(room / this.width, FIT_HEIGHT / this.height, 16) : this.zoom;
    const size = `${Math.max(1, this.width * scale)}px`;
    for (const sheet of this.stage.querySelectorAll(".sheet")) {
      if (sheet.style.width !== size) sheet.style.width = size;
      sheet.classList.toggle("smooth", scale < 1);
    }
    this.placeCursor();
  }

  play(on) {
    this.playing = on;
    this.playButton.textContent = on ? "Pause" : "Play";
    this.playButton.setAttribute("aria-pressed", String(on));
  }

  tick() {
    if (this.view === "flicker" && this.playing && this.root.isConnected) this.swap();
  }

  swap(to = this.turn === "target" ? "actual" : "target") {
    this.turn = to;
    this.canvases.actual.hidden = to !== "actual";
    this.turned.textContent = to;
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1;
    const step = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    const zoom = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      this.held = true;
      this.moveTo(Math.max(0, Math.min(this.width - 1, this.x + step[0])), Math.max(0, Math.min(this.height - 1, this.y + step[1])), true);
    } else if (event.key === "n" || event.key === "p") this.jump(event.key === "n" ? 1 : -1);
    else if (zoom) this.set({ zoom: ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, ZOOMS.indexOf(this.zoom) + zoom))] });
    else if (event.key === "Enter") this.held = !this.held;
    else if (event.key === " " && this.both) {
      if (this.view === "flicker") {
        this.play(false);
        this.swap();
      } else this.set({ view: "flicker" });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  jump(step) {
    const here = this.y * this.width + this.x;
    const to = step > 0 ? this.wrong.find((at) => at > here) ?? this.wrong[0] : this.wrong.findLast((at) => at < here) ?? this.wrong.at(-1);
    if (to === undefined) return;
    this.held = true;
    this.moveTo(to % this.width, Math.floor(to / this.width), true);
  }

  moveTo(x, y, aloud = false) {
    [this.x, this.y] = [x, y];
    this.placeCursor();
    this.magnify();
    if (!aloud) return;
    this.reveal();
    const texts = this.names.filter((name) => name !== "diff").map((name) => `${name} ${this.nativeOf(name)?.map((value) => value ?? "none").join(" ") ?? "outside"}`);
    say(`x ${x}, y ${y}: ${texts.join("; ")}`);
  }

  /** Scrolls to the pixel in question. */
  reveal() {
    for (const frame of this.stage.querySelectorAll(".frame")) {
      const cursor = frame.querySelector(".cursor");
      const [left, top] = [cursor.offsetLeft, cursor.offsetTop];
      if (left < frame.scrollLeft || left > frame.scrollLeft + frame.clientWidth - 16) frame.scrollLeft = left - frame.clientWidth / 2;
      if (top < frame.scrollTop || top > frame.scrollTop + frame.clientHeight - 16) frame.scrollTop = top - frame.clientHeight / 2;
    }
  }

  placeCursor() {
    for (const cursor of this.stage.querySelectorAll(".cursor")) {
      cursor.style.left = `${(100 * this.x) / this.width}%`;
      cursor.style.top = `${(100 * this.y) / this.height}%`;
      cursor.style.width = `${100 / this.width}%`;
      cursor.style.height = `${100 / this.height}%`;
    }
  }

  valueOf(name, x = this.x, y = this.y) {
    const { width, height, rgba } = this.pictures[name];
    if (x < 0 || y < 0 || x >= width || y >= height) return undefined;
    const at = (y * width + x) * 4;
    return [...rgba.subarray(at, at + 4)];
  }

  /** The pixels around the cursor, large, and the values of the one in the middle. */
  magnify() {
    const half = (LENS.pixels - 1) / 2;
    for (const name of this.names) {
      const context = this.lenses[name].getContext("2d");
      const size = LENS.size;
      const { width, height } = this.pictures[name];
      context.imageSmoothingEnabled = false;
      context.clearRect(0, 0, LENS.pixels * size, LENS.pixels * size);
      // Drawn from the painted picture, so that the lens shows the same channels.
      const [left, top] = [Math.max(0, this.x - half), Math.max(0, this.y - half)];
      const [right, bottom] = [Math.min(width, this.x + half + 1), Math.min(height, this.y + half + 1)];
      if (right > left && bottom > top) {
        const [toX, toY] = [(left - this.x + half) * size, (top - this.y + half) * size];
        context.drawImage(this.canvases[name], left, top, right - left, bottom - top, toX, toY, (right - left) * size, (bottom - top) * size);
      }
      for (const [color, inset] of [["#000", -0.5], ["#fff", -1.5]]) {
        context.strokeStyle = color;
        context.strokeRect(half * size + inset, half * size + inset, size - 2 * inset - 0, size - 2 * inset - 0);
      }
    }
    this.drawValues();
  }

  /** What 1.0 is in each channel of the format; nothing for a channel that it does not have. */
  full(name) {
    const { fourcc, most } = this.pictures[name];
    return RUN.full[fourcc] ?? [most, most, most, most];
  }

  /** The values under the cursor as the format has them: images have narrow channels widened, which this takes back. */
  nativeOf(name) {
    const { most } = this.pictures[name];
    const full = this.full(name);
    return this.valueOf(name)?.map((value, channel) => full[channel] && Math.floor((value * full[channel] + Math.floor(most / 2)) / most));
  }

  drawValues() {
    const sides = this.names.filter((name) => name !== "diff");
    const line = (name, cells) => el("tr", {}, el("th", { scope: "row" }, name), cells);
    const rows = sides.map((name) => {
      const full = this.full(name);
      const values = this.nativeOf(name);
      const cell = (value, channel) => full[channel] ? el("td", {}, el("code", {}, hex(value, full[channel])), el("span", { class: "decimal" }, value)) : el("td", { class: "zero" }, "–");
      const row = line(name, values ? values.map(cell) : el("td", { colspan: 4 }, "outside"));
      const swatch = el("i", { class: "swatch" });
      const shades = this.valueOf(name)?.slice(0, 3).map((value) => Math.round((value * 255) / this.pictures[name].most));
      if (shades) swatch.style.background = `rgb(${shades.join(" ")})`;
      row.firstChild.prepend(swatch);
      return row;
    });
    const [target, actual] = ["target", "actual"].map((name) => this.pictures[name] && this.valueOf(name));
    const wrong = target && actual && actual.some((value, channel) => value !== target[channel]);
    if (target && actual && this.pictures.target.fourcc === this.pictures.actual.fourcc) {
      const [from, to] = [this.nativeOf("target"), this.nativeOf("actual")];
      const cell = (value, channel) => {
        const delta = value - from[channel];
        return el("td", { class: delta ? "" : "zero" }, value === null || value === undefined ? "" : delta > 0 ? `+${delta}` : String(delta).replace("-", "−"));
      };
      rows.push(line("actual − target", to.map(cell)));
    }
    const full = this.full(sides[0] ?? this.names[0]);
    const head = el("tr", {}, el("td", {}), ["R", "G", "B", "A"].map((name, channel) => el("th", { scope: "col" }, name, full[channel] ? el("span", { class: "decimal" }, `of ${full[channel]}`) : "")));
    const verdict = target && actual ? (wrong ? "differs" : "equal") : "";
    const held = this.held ? el("span", { class: "quiet" }, " held") : "";
    this.place.replaceChildren(el("b", {}, `x ${this.x}, y ${this.y}`), " ", el("span", { class: wrong ? "is-fail" : "is-pass" }, verdict), held);
    this.values.replaceChildren(el("table", { class: "channels" }, el("thead", {}, head), el("tbody", {}, rows)));
  }
}
