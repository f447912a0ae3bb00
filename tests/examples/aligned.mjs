// Run the swapping network of a product on a crop: node aligned.mjs SWAP_JS FOLDER TARGET OUT
// TARGET: raw RGBA bytes of a crop. OUT: raw float32 numbers of the image, then those of the mask.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const [module, folder, crop, out] = process.argv.slice(2);
const { Product, cut } = await import(module);
const product = await Product.open((path) => readFile(join(folder, path)));
const { size } = product.card;
const photo = { width: size, height: size, data: await readFile(crop) };
const { image, mask } = await product.run("swap", { target: cut(photo, { a: 1, b: 0, x: 0, y: 0 }, size) });
const bytes = [image, mask].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
await writeFile(out, Buffer.concat(bytes));
