// The page around swap.js: pick files, click landmarks, see the swap.

import { markSynthetic, parseLandmarks } from "./files.js";
import { Product } from "./swap.js";
import { mark } from "./watermark.js";

const NAMES = ["left eye", "right eye", "nose", "left mouth corner", "right mouth corner"];
const byId = (id) => document.getElementById(id);

/** A photo and its landmarks, chosen in a fieldset. */
class PhotoInput {
  constructor(fieldset) {
    this.canvas = fieldset.querySelector("canvas");
    this.hint = fieldset.querySelector(".hint");
    this.photo = null;
    this.landmarks = [];
    const whenChosen = (selector, action) =>
      fieldset.querySelector(selector).addEventListener("change", attempt((event) => action(event.target.files[0])));
    whenChosen(".photo", (file) => this.load(file));
    whenChosen(".landmarks", (file) => this.mark(file));
    this.canvas.addEventListener("click", (event) => this.click(event));
  }

  async load(file) {
    const bitmap = await createImageBitmap(file);
    [this.canvas.width, this.canvas.height] = [bitmap.width, bitmap.height];
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    this.photo = context.getImageData(0, 0, bitmap.width, bitmap.height);
    this.landmarks = [];
    this.draw();
  }

  async mark(file) {
    this.landmarks = parseLandmarks(await file.text());
    this.draw();
  }

  click({ offsetX, offsetY }) {
    if (this.landmarks.length === 5) this.landmarks = [];
    const scale = this.canvas.width / this.canvas.clientWidth;
    this.landmarks.push([offsetX * scale, offsetY * scale]);
    this.draw();
  }

  draw() {
    const next = NAMES[this.landmarks.length];
    this.hint.textContent = next ? `Click the ${next}, as seen in the picture.` : "Click again to start over.";
    if (!this.photo) return;
    const context = this.canvas.getContext("2d");
    context.putImageData(this.photo, 0, 0);
    context.fillStyle = "lime";
    const radius = Math.max(2, this.canvas.width / 200);
    for (const [x, y] of this.landmarks) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** The photo and five landmarks. */
  ready(what) {
    if (!this.photo || this.landmarks.length !== 5) throw new Error(`choose the ${what} and its five landmarks`);
    return [this.photo, this.landmarks];
  }
}

/** `action`, with its error shown on the page. */
function attempt(action) {
  return async (event) => {
    try {
      byId("status").textContent = "";
      await action(event);
    } catch (error) {
      byId("status").textContent = error.message;
    }
  };
}

const [source, target] = [new PhotoInput(byId("source")), new PhotoInput(byId("target"))];
let product = null;

async function openProduct({ target: { files } }) {
  const named = new Map(Array.from(files, (file) => [file.webkitRelativePath.replace(/^[^/]*\//, ""), file]));
  const read = async (path) => {
    if (!named.has(path)) throw new Error(`the folder holds no ${path}: choose the one that was exported`);
    return new Uint8Array(await named.get(path).arrayBuffer());
  };
  product = await Product.open(read, new URLSearchParams(location.search).get("precision") ?? undefined);
  byId("source").hidden = !product.takesIdentity;
}

async function show(picture) {
  const { width, height, data } = mark(picture);
  const canvas = byId("result");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  const png = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const marked = markSynthetic(new Uint8Array(await png.arrayBuffer()));
  URL.revokeObjectURL(byId("save").href);
  byId("save").href = URL.createObjectURL(new Blob([marked], { type: "image/png" }));
  byId("save").hidden = false;
}

async function swap() {
  if (!product) throw new Error("choose the exported folder first");
  const [photo, landmarks] = target.ready("target photo");
  byId("status").textContent = "Working";
  const identity = product.takesIdentity ? await product.identity(...source.ready("source photo")) : null;
  const started = performance.now();
  await show(await product.swap(photo, landmarks, identity));
  byId("status").textContent = `Done in ${Math.round(performance.now() - started)} ms`;
}

byId("product").addEventListener("change", attempt(openProduct));
byId("swap").addEventListener("click", attempt(swap));
