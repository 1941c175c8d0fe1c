// The report's moving parts. Everything shown is looked up in what explorer.py has packed: nothing is computed anew
// but sums over an image's stored answers.

const byId = (id) => document.getElementById(id);
const content = JSON.parse(byId("content").textContent);
const charts = JSON.parse(byId("charts").textContent);
const boundaries = Object.keys(content.boundaries);
const models = Object.keys(content.metrics[boundaries[0]]);
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;
const clamped = (value) => Math.max(-content.radius, Math.min(content.radius, value));
const option = (text, value = text) => new Option(text, value);

// ---- Stored answers

/** The answers of explorer.pack: at(boundary, model, image, shift) is {called, percent}, all by their places. */
async function unpacked() {
  const packed = Uint8Array.from(atob(byId("answers").textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new DataView(await new Response(stream).arrayBuffer());
  const [images, shifts, width] = [content.images.length, content.shifts.length, content.classes.length > 256 ? 2 : 1];
  const count = boundaries.length * models.length * images * shifts;
  const read = width === 1 ? (place) => bytes.getUint8(place) : (place) => bytes.getUint16(2 * place, true);
  return (boundary, model, image, shift) => {
    const place = ((boundary * models.length + model) * images + image) * shifts + shift;
    return { called: read(place), percent: bytes.getUint8(count * width + place) };
  };
}

const key = (dx, dy) => `${dx},${dy}`;
const shiftAt = new Map(content.shifts.map(([dx, dy], shift) => [key(dx, dy), shift]));
// By distance, ties as nearest_failing_shift.py has them: by dy, then dx.
const nearestFirst = content.shifts
  .map(([dx, dy], shift) => ({ dx, dy, shift, far: dx * dx + dy * dy }))
  .sort((one, other) => one.far - other.far || one.dy - other.dy || one.dx - other.dx);

// ---- Charts

/** The page's colours, light or dark, as Vega has them. */
function theme() {
  const css = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => css.getPropertyValue(name).trim());
  const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    axis: { ...text, gridColor: line, domainColor: line, tickColor: line },
    legend: text,
    view: { stroke: line },
  };
}

/** A chart in an element, drawn when it first comes into sight; until then it keeps what it was last given. */
class Chart {
  static all = [];
  static inSight = new IntersectionObserver((entries) => {
    for (const one of entries) {
      if (one.isIntersecting) one.target.chart.draw();
    }
  }, { rootMargin: "300px" });

  constructor(element, name) {
    Object.assign(this, { element, name, rows: [], parameters: {}, view: null });
    element.chart = this;
    Chart.all.push(this);
    Chart.inSight.observe(element);
  }

  async draw() {
    if (this.drawing) return this.drawing;
    Chart.inSight.unobserve(this.element);
    const chart = { ...charts[this.name], datasets: { [this.name]: this.rows } };
    this.drawing = vegaEmbed(this.element, chart, { mode: "vega-lite", renderer: "svg", actions: false, config: theme() });
    this.view = (await this.drawing).view;
    this.view.addEventListener("click", (_, item) => item?.datum && this.onClick?.(item.datum));
    this.apply();
    return this.drawing;
  }

  show(rows, parameters = {}) {
    if (rows) this.rows = rows;
    Object.assign(this.parameters, parameters);
    if (this.view) this.apply(Boolean(rows));
  }

  apply(anew = true) {
    if (anew) this.view.data(this.name, this.rows);
    for (const [name, value] of Object.entries(this.parameters)) this.view.signal(name, value);
    this.view.runAsync();
  }

  async redraw() {
    if (!this.drawing) return;
    (await this.drawing).finalize();
    this.drawing = this.view = null;
    await this.draw();
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Chart.all.forEach((one) => one.redraw()));
addEventListener("beforeprint", () => Chart.all.forEach((one) => one.draw()));

// ---- One image, moved

const at = { boundary: 0, image: 0, dx: 0, dy: 0 };
const LONGEST = 280; // pixels of the screen that the frame's longer side takes

/** Called once, with the stored answers. */
function explore(answer) {
  const [box, table] = [byId("frame"), byId("called").tBodies[0]];
  const [height, width] = content.frame;
  const scale = LONGEST / Math.max(height, width);
  box.style.width = `${scale * width}px`;
  box.style.height = `${scale * height}px`;
  const maps = [...document.querySelectorAll("[data-answers]")].map((element) => new Chart(element, "answers"));
  maps.forEach((map) => (map.onClick = ({ dx, dy }) => dx !== undefined && move(dx, dy)));

  const right = (boundary, model, image) => {
    let count = 0;
    for (let shift = 0; shift < content.shifts.length; shift++) {
      count += answer(boundary, model, image, shift).called === content.images[image].class;
    }
    return count / content.shifts.length;
  };
  const breaking = (boundary, model, image) =>
    nearestFirst.find(({ shift }) => answer(boundary, model, image, shift).called !== content.images[image].class);

  /** The colours of the classes that an image is called; where there are more than colours, of the most frequent. */
  function colours() {
    const counts = new Map();
    for (let model = 0; model < models.length; model++) {
      for (let shift = 0; shift < content.shifts.length; shift++) {
        const { called } = answer(at.boundary, model, at.image, shift);
        counts.set(called, (counts.get(called) ?? 0) + 1);
      }
    }
    const few = content.classes.length <= content.palette.length;
    const often = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
    const shown = few ? often.sort((one, other) => one - other) : often.slice(0, content.palette.length - 1);
    return new Map(shown.map((called, place) => [called, content.palette[few ? called : place]]));
  }

  /** Show the image at another shift. */
  function move(dx, dy) {
    [at.dx, at.dy] = [clamped(dx), clamped(dy)];
    const image = content.images[at.image];
    const name = boundaries[at.boundary];
    const display = content.boundaries[name];
    const margin = display === "padded" ? content.radius : 0;
    box.style.backgroundRepeat = display === "tiled" ? "repeat" : "no-repeat";
    box.style.backgroundImage = `url(${display === "padded" ? image[name] : image.picture})`;
    box.style.backgroundSize = `${scale * (width + 2 * margin)}px ${scale * (height + 2 * margin)}px`;
    box.style.backgroundPosition = `${scale * (at.dx - margin)}px ${scale * (at.dy - margin)}px`;
    [byId("dx").value, byId("dy").value] = [at.dx, at.dy];
    byId("place").textContent = `${content.classes[image.class]} moved by (${at.dx}, ${at.dy})`;
    const shift = shiftAt.get(key(at.dx, at.dy));
    models.forEach((_, model) => {
      const [, called, sure] = table.rows[model].cells;
      if (shift === undefined) {
        called.textContent = "not among the shifts that were drawn";
        called.className = sure.textContent = "";
        return;
      }
      const one = answer(at.boundary, model, at.image, shift);
      const isRight = one.called === image.class;
      called.textContent = `${isRight ? "✓" : "✗"} ${content.classes[one.called]}`;
      called.className = isRight ? "right" : "wrong";
      sure.innerHTML = `<meter min="0" max="100" value="${one.percent}" aria-label="probability"></meter> ${one.percent}%`;
    });
    maps.forEach((map) => map.show(null, { dx: at.dx, dy: at.dy }));
  }

  /** Show another image, or the same in another boundary, where one is. */
  function open(image) {
    at.image = image;
    const { image: number, class: is } = content.images[image];
    byId("number").value = number;
    byId("frame").setAttribute("aria-label", `test image ${number}, a ${content.classes[is]}: arrow keys move it`);
    const colour = colours();
    maps.forEach((map, model) => {
      const rows = content.shifts.map(([dx, dy], shift) => {
        const { called, percent: sure } = answer(at.boundary, model, image, shift);
        return { dx, dy, answer: content.classes[called], probability: sure / 100, colour: colour.get(called) ?? "#555555" };
      });
      map.show(rows);
      const breaks = breaking(at.boundary, model, image);
      const share = percent(right(at.boundary, model, image), 1);
      const [, , , often, where] = table.rows[model].cells;
      often.textContent = share;
      where.textContent = breaks
        ? `(${breaks.dx}, ${breaks.dy}): ${content.classes[answer(at.boundary, model, image, breaks.shift).called]}`
        : "nowhere";
      map.element.setAttribute("aria-label", `${models[model]}: right at ${share} of all shifts; first wrong at ${where.textContent}`);
    });
    byId("legend").replaceChildren(
      ...[...colour].map(([called, hex]) => {
        const item = document.createElement("li");
        item.innerHTML = `<i style="background:${hex}"></i>`;
        item.append(content.classes[called] + (called === is ? " (right)" : ""));
        return item;
      }),
    );
    document.querySelectorAll("#found button").forEach((one) => one.setAttribute("aria-pressed", one.dataset.image == image));
    move(at.dx, at.dy);
  }

  /** List the images of a class, the most fragile for a model first. */
  function search() {
    const [model, wanted] = [models.indexOf(byId("fragile").value), byId("of-class").value];
    const found = content.images
      .map((one, image) => ({ ...one, image, number: one.image, right: right(at.boundary, model, image) }))
      .filter((one) => wanted === "" || one.class === Number(wanted))
      .sort((one, other) => one.right - other.right || one.number - other.number);
    byId("found").replaceChildren(
      ...found.map(({ image, number, class: is, picture, right: share }) => {
        const button = document.createElement("button");
        button.dataset.image = image;
        button.setAttribute("aria-pressed", image === at.image);
        button.setAttribute("aria-label", `open test image ${number}, a ${content.classes[is]}, right at ${percent(share)}`);
        button.innerHTML = `<img alt="" loading="lazy" src="${picture}">${percent(share)}`;
        button.onclick = () => open(image);
        return button;
      }),
    );
  }

  let from = null;
  let waiting = false;
  box.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY, dx: at.dx, dy: at.dy };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (!from || waiting) return;
    waiting = true;
    const { clientX: x, clientY: y } = event;
    requestAnimationFrame(() => {
      waiting = false;
      if (!from) return;
      const [dx, dy] = [from.dx + Math.round((x - from.x) / scale), from.dy + Math.round((y - from.y) / scale)];
      if (clamped(dx) !== at.dx || clamped(dy) !== at.dy) move(dx, dy);
    });
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => (from = null));
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  box.addEventListener("keydown", (event) => {
    if (event.key === "Home") move(0, 0);
    else if (steps[event.key]) move(at.dx + steps[event.key][0], at.dy + steps[event.key][1]);
    else return;
    event.preventDefault();
  });
  for (const axis of ["dx", "dy"]) {
    byId(axis).addEventListener("input", () => move(Number(byId("dx").value), Number(byId("dy").value)));
  }
  byId("back").addEventListener("click", () => move(0, 0));
  byId("boundary").addEventListener("change", (event) => {
    at.boundary = boundaries.indexOf(event.target.value);
    open(at.image);
    search();
  });
  byId("fragile").addEventListener("change", search);
  byId("of-class").addEventListener("change", search);
  byId("number").addEventListener("change", (event) => {
    const wanted = Number(event.target.value);
    const image = content.images.findIndex((one) => one.image === wanted);
    byId("no-such").textContent = image < 0 ? `Test image ${event.target.value} is not among the ${content.images.length} of this page.` : "";
    if (image >= 0) open(image);
  });
  byId("of-class").append(option("any", ""), ...content.classes.map((name, at) => option(name, at)));

  // The first image is one whose answers differ most, 5 pixels to the right where the grid goes so far.
  const dx = Math.min(5, content.radius);
  const shift = shiftAt.get(key(dx, 0)) ?? 0;
  const differ = content.images.map((_, image) => new Set(models.map((_, model) => answer(0, model, image, shift).called)).size);
  [at.dx, at.dy] = [dx, 0];
  open(differ.indexOf(Math.max(...differ)));
  search();
}

// ---- Two models side by side

/** Columns of numbers as rows. */
function rows(columns, more) {
  return columns.value
    .map((value, place) => ({ ...more, step: columns.step[place], value, low: columns.low[place], high: columns.high[place] }))
    .filter((row) => row.value !== null);
}

/** A confusion matrix as rows. */
function pairsOfClasses(counts) {
  return counts.flatMap((row, actual) => {
    const images = row.reduce((one, other) => one + other, 0);
    return row.map((count, predicted) => ({
      actual: content.classes[actual],
      predicted: content.classes[predicted],
      count,
      share: images ? count / images : 0,
    }));
  });
}

function compare() {
  const places = ["first", "second"];
  const lines = Object.fromEntries(["curves", "radii"].map((name) => [name, new Chart(byId(`chart-${name}`), name)]));
  const maps = places.map((place) => new Chart(byId(`map-${place}`), "map"));
  const matrices = byId("confusion-first") ? places.map((place) => new Chart(byId(`confusion-${place}`), "confusion")) : [];
  const [radius, side] = [content.radius, 2 * content.radius + 1];
  const chosen = (id) => byId(`compare-${id}`).value;

  function update() {
    const of = content.metrics[chosen("boundary")];
    const pair = places.map((place) => chosen(place));
    const within = Number(chosen("radius"));
    byId("compare-radius-is").textContent = `${within} px`;
    for (const name of ["curves", "radii"]) {
      const what = chosen(name);
      const both = pair.flatMap((model, place) => rows(of[model][name][what], { model, place: places[place] }));
      lines[name].show(name === "curves" ? both.filter(({ step }) => Math.abs(step) <= within) : both, name === "radii" ? { radius: within } : {});
    }
    pair.forEach((model, place) => {
      const { value, low, high } = of[model].maps[chosen("maps")];
      const cells = value.map((share, cell) => ({
        dx: (cell % side) - radius, dy: Math.floor(cell / side) - radius, value: share, low: low[cell], high: high[cell],
      }));
      maps[place].show(cells.filter((cell) => cell.value !== null), { radius: within });
      maps[place].element.setAttribute("aria-label", `${model}: ${chosen("maps")} at every shift`);
      if (matrices.length) {
        matrices[place].show(pairsOfClasses(of[model].confusions[chosen("set")]));
        matrices[place].element.setAttribute("aria-label", `${model}: confusion matrix on ${chosen("set")}`);
      }
      document.querySelectorAll(`[data-name="${places[place]}"]`).forEach((one) => (one.textContent = model));
      const { value: shares, low: lows, high: highs, step } = of[model].radii[chosen("radii")];
      const row = step.indexOf(within);
      byId(`within-${places[place]}`).textContent =
        row < 0 ? "" : `${percent(shares[row], 1)} [${percent(lows[row], 1)}, ${percent(highs[row], 1)}]`;
    });
    byId("within-what").textContent = `${chosen("radii")} ${within} px`;
  }

  document.querySelectorAll("[id^='compare-']").forEach((one) => one.addEventListener("input", update));
  update();
}

// ---- The study's claims

function claims() {
  const chart = new Chart(byId("chart-effects"), "effects");
  const choice = byId("claim");
  const update = () => {
    const { says, verdict, which_way, contrasts } = content.claims[choice.selectedIndex];
    chart.show(contrasts);
    byId("claim-says").textContent = `${says} ${verdict[0].toUpperCase()}${verdict.slice(1)}${which_way}.`;
    chart.element.setAttribute("aria-label", contrasts.map((one) => `${one.contrast}: ${one.difference} points`).join("; "));
  };
  choice.append(...content.claims.map((one) => option(`${one.claim}: ${one.verdict}`, one.claim)));
  choice.addEventListener("change", update);
  update();
}

unpacked().then(explore, () => {
  byId("place").textContent = "This browser can't unpack the stored answers: use a newer one. All metrics are below.";
});
compare();
if (content.claims.length) claims();
