import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fakeNode, makeReleaseRepository } from './release-repository.ts';
import type { ReleaseRepositoryLab } from './release-repository.ts';

export interface CacheRelease {
  lab: ReleaseRepositoryLab;
  /** All that a store serves of it: path -> bytes. */
  files: Map<string, Buffer>;
  /** What nodes ask for: metadata, the next root, which is not there, pointers, pilot and runtime. */
  names: Map<string, Buffer | undefined>;
  runtime: string;
  pilot: string;
  /** Puts another object into the store, which no cache has yet. */
  addCold(bytes?: number): Promise<[path: string, body: Buffer]>;
}

const NEXT_ROOT = 'metadata/2.root.json';
const incompressible = (bytes: number) => randomBytes(bytes).toString('base64');

/** A repository of real sizes: a pilot of 1 MB and a runtime of 9 MB. */
export async function makeCacheRelease(
  directory: string,
  { pilotBytes = 1_000_000, runtimeBytes = 9_000_000 } = {},
): Promise<CacheRelease> {
  const lab = await makeReleaseRepository({
    directory,
    pilotFiles: { 'more.txt': incompressible(pilotBytes) },
    nodeScript: `${fakeNode}exit\n# ${incompressible(runtimeBytes)}\n`,
  });
  const files = await readTree(lab.publicDirectory);
  const find = (name: RegExp) => [...files.keys()].findLast(path => name.test(path))!;
  const current = currentMetadata(files);
  const names = new Map<string, Buffer | undefined>(
    [...files].filter(([path]) => path.startsWith('targets/') || current.has(path)),
  );
  return {
    lab,
    files,
    names: names.set(NEXT_ROOT, undefined),
    runtime: find(/\.node-/),
    pilot: find(/\.pilot-1\.0\.0/),
    addCold: async (bytes = 1_000_000) => {
      const body = randomBytes(bytes);
      const sha256 = createHash('sha256').update(body).digest('hex');
      const path = `targets/pilot/cold/${sha256}.cold.tar.gz`;
      await mkdir(join(lab.publicDirectory, 'targets/pilot/cold'), { recursive: true });
      await writeFile(join(lab.publicDirectory, path), body);
      files.set(path, body);
      return [path, body];
    },
  };
}

/** What the timestamp of today names, directly or through the snapshot, and the root. */
function currentMetadata(files: Map<string, Buffer>): Set<string> {
  const read = (path: string) =>
    (JSON.parse(files.get(path)!.toString()) as { signed: { meta: Record<string, { version: number }> } })
      .signed.meta;
  const timestamp = 'metadata/timestamp.json';
  const snapshot = `metadata/${read(timestamp)['snapshot.json']!.version}.snapshot.json`;
  const roles = Object.entries(read(snapshot)).map(([name, { version }]) => `metadata/${version}.${name}`);
  return new Set([timestamp, snapshot, ...roles, 'metadata/1.root.json']);
}

async function readTree(directory: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(relative(directory, path), await readFile(path));
  }
  return files;
}
