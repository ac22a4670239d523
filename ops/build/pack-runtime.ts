import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeReproducibleTar } from '../../lib/reproducible-tar.ts';

export interface PackedRuntime {
  file: string;
  version: string;
  /** `linux-x64` or `linux-arm64`. */
  architecture: string;
  sha256: string;
  bytes: number;
  /** Path in the archive -> sha256. */
  files: Record<string, string>;
  /** True when an earlier packing of the same binary was taken. */
  cached: boolean;
}

/**
 * `npm run build:runtime`: packs the Node binary that ships to worker nodes as
 * `<out>/node-<version>-<architecture>.tar.gz` (inside: `bin/node`). Lightly compressed: it travels once per node, and is
 * packed at every first start.
 */
export async function packRuntime(options: {
  root: string;
  out: string;
  architecture?: string;
}): Promise<PackedRuntime> {
  const architecture = options.architecture ?? `linux-${process.arch}`;
  const source = join(resolve(options.root), 'node_modules', `node-${architecture}`);
  const binary = join(source, 'bin', 'node');
  const { version } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as { version: string };
  const file = join(resolve(options.out), `node-${version}-${architecture}.tar.gz`);
  const found = await stat(binary);
  const origin = { binary, size: found.size, mtimeMs: found.mtimeMs };
  const note = `${file}.json`;
  const earlier = await readEarlier(note, file, origin);
  if (earlier) return { ...earlier, file, cached: true };
  const files = { 'bin/node': await sha256(binary) };
  await writeReproducibleTar(file, [{ path: 'bin/node', content: { file: binary }, executable: true }], 1);
  const packed = await stat(file);
  const result = { file, version, architecture, sha256: await sha256(file), bytes: packed.size, files };
  await writeFile(note, JSON.stringify({ origin, packedMtimeMs: packed.mtimeMs, result }));
  return { ...result, cached: false };
}

type Result = Omit<PackedRuntime, 'cached'>;

async function readEarlier(note: string, file: string, origin: object): Promise<Result | undefined> {
  try {
    const earlier = JSON.parse(await readFile(note, 'utf8')) as {
      origin: object;
      packedMtimeMs: number;
      result: Result;
    };
    const packed = await stat(file);
    const same =
      JSON.stringify(earlier.origin) === JSON.stringify(origin) &&
      packed.size === earlier.result.bytes &&
      packed.mtimeMs === earlier.packedMtimeMs;
    return same ? earlier.result : undefined;
  } catch {
    return undefined;
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const { values } = parseArgs({
    options: { out: { type: 'string', default: join(root, 'build') }, arch: { type: 'string' } },
  });
  const packed = await packRuntime({
    root,
    out: values.out,
    ...(values.arch !== undefined && { architecture: values.arch }),
  });
  process.stdout.write(`${JSON.stringify(packed)}\n`);
}
