// Swap a face from the command line:
//
//   node cli.mjs swap PHOTO.png OUT.png --product FOLDER --landmarks LANDMARKS [--identity WHO.npy]
//   node cli.mjs identity SOURCE.png WHO.npy --product FOLDER --landmarks LANDMARKS
//
// LANDMARKS are x1,y1,...,x5,y5 in pixels or a JSON file of five [x, y]. --precision int8 takes those files.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PNG } from "pngjs";

import { markSynthetic, parseLandmarks, readNpy, writeNpy } from "./files.js";
import { Product } from "./swap.js";
import { mark } from "./watermark.js";

async function readPhoto(path) {
  const { width, height, data } = PNG.sync.read(await readFile(path));
  for (let i = 3; i < data.length; i += 4) data[i] = 255;
  return { width, height, data };
}

function writePhoto(path, picture) {
  const { width, height, data } = mark(picture);
  const png = PNG.sync.write({ width, height, data: Buffer.from(data.buffer) }, { colorType: 2 });
  return writeFile(path, markSynthetic(png));
}

function parse() {
  const text = { type: "string" };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { product: text, landmarks: text, identity: text, precision: text },
  });
  const [verb, photo, out] = positionals;
  if (!["swap", "identity"].includes(verb) || positionals.length !== 3 || !values.product || !values.landmarks) {
    throw new Error("usage: node cli.mjs swap|identity PHOTO.png OUT --product FOLDER --landmarks LANDMARKS");
  }
  if (verb === "swap" && !out.endsWith(".png")) throw new Error(`${out} must end with .png`);
  return { verb, photo, out, ...values };
}

async function main() {
  const options = parse();
  const product = await Product.open((path) => readFile(join(options.product, path)), options.precision);
  const photo = await readPhoto(options.photo);
  const named = options.landmarks.endsWith(".json");
  const landmarks = parseLandmarks(named ? await readFile(options.landmarks, "utf8") : options.landmarks);
  if (options.verb === "identity") {
    await writeFile(options.out, writeNpy(await product.identity(photo, landmarks)));
  } else {
    const identity = options.identity ? readNpy(await readFile(options.identity)) : null;
    await writePhoto(options.out, await product.swap(photo, landmarks, identity));
  }
}

main().catch((error) => {
  console.error(`cli.mjs: ${error.message}`);
  process.exitCode = 1;
});
