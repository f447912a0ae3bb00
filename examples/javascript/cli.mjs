// Swap a face from the command line:
//
//   node cli.mjs swap PHOTO OUT --product FOLDER --landmarks LANDMARKS [--identity WHO.npy]
//   node cli.mjs identity SOURCE WHO.npy --product FOLDER --landmarks LANDMARKS
//
// Photographs are JPEG, PNG, WebP, TIFF, GIF or AVIF and stood upright first; OUT is .png, .jpg or .webp.
// LANDMARKS are x1,y1,...,x5,y5 in pixels or a JSON file of five [x, y]. --precision int8 takes those files.

import { readFile, writeFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";

import { markSynthetic, parseLandmarks, readNpy, writeNpy, XMP } from "./files.js";
import { Product } from "./swap.js";
import { mark } from "./watermark.js";

const WRITERS = {
  ".png": async (picture) => markSynthetic(await picture.png().toBuffer()),
  ".jpg": (picture) => picture.jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).withXmp(XMP).toBuffer(),
  ".webp": (picture) => picture.webp({ quality: 95 }).withXmp(XMP).toBuffer(),
};
WRITERS[".jpeg"] = WRITERS[".jpg"];

async function readPhoto(path) {
  const upright = sharp(await readFile(path)).autoOrient().toColourspace("srgb").removeAlpha().ensureAlpha();
  const { data, info } = await upright.raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}

async function writePhoto(path, picture) {
  const { width, height, data } = mark(picture);
  const pixels = sharp(Buffer.from(data.buffer), { raw: { width, height, channels: 4 } }).removeAlpha();
  await writeFile(path, await WRITERS[extname(path).toLowerCase()](pixels));
}

function parse() {
  const text = { type: "string" };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { product: text, landmarks: text, identity: text, precision: text },
  });
  const [verb, photo, out] = positionals;
  if (!["swap", "identity"].includes(verb) || positionals.length !== 3 || !values.product || !values.landmarks) {
    throw new Error("usage: node cli.mjs swap|identity PHOTO OUT --product FOLDER --landmarks LANDMARKS");
  }
  if (verb === "swap" && !(extname(out).toLowerCase() in WRITERS)) {
    throw new Error(`${out} must end with ${Object.keys(WRITERS).join(", ")}`);
  }
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
