import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { TargetFile } from '@tufjs/models';
import { openDownloads } from '../../codecache/client/download.ts';
import { metadataDirectory } from '../../codecache/client/updater/metadata-directory.ts';
import { Updater } from '../../codecache/client/updater/updater.ts';
import { formatError } from '../../lib/errors.ts';
import { writeFileAtomic } from '../../lib/files.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'metadata-dir': { type: 'string' },
    'metadata-url': { type: 'string' },
    'target-name': { type: 'string', multiple: true },
    'target-base-url': { type: 'string' },
    'target-dir': { type: 'string' },
  },
});

/** What the suite's command line has under this name; it gives all that a command needs. */
function given(name: 'metadata-dir' | 'metadata-url' | 'target-base-url' | 'target-dir'): string {
  const value = values[name];
  if (value === undefined) throw new Error(`--${name} is missing`);
  return value;
}

async function init(trustedRoot: string): Promise<void> {
  await metadataDirectory(given('metadata-dir')).write('root', await readFile(trustedRoot));
}

/** Refreshes the metadata, then downloads the named targets with the same updater. */
async function update(targetNames: readonly string[]): Promise<void> {
  const downloads = openDownloads({});
  const get = (base: string, path: string, maxBytes: number) =>
    downloads.bytes({ cache: base, noCache: false }, path, maxBytes);
  try {
    const base = given('metadata-url').replace(/\/+$/, '');
    const updater = await Updater.open({
      store: metadataDirectory(given('metadata-dir')),
      get: (file, maxBytes) => get(base, file, maxBytes),
      at: path => `${base}/${path.replace(/^metadata\//, '')}`,
      nowMs: Date.now(),
    });
    await updater.refresh();
    for (const name of targetNames) {
      const target = await updater.find(name);
      if (target === undefined) throw new Error(`no role that may sign ${name} signs it`);
      const kept = join(given('target-dir'), encodeURIComponent(name));
      if (isTarget(target, await readFile(kept).catch(() => undefined))) continue;
      const path = pathOf(target, updater.trusted.root.signed.consistentSnapshot);
      const bytes = await get(given('target-base-url'), path, target.length);
      if (!isTarget(target, bytes)) throw new Error(`${path} is not the target that was signed`);
      await writeFileAtomic(kept, bytes);
    }
  } finally {
    await downloads.close();
  }
}

/** Every hash that is named has to hold; one of an unknown kind cannot. */
const isTarget = (target: TargetFile, bytes: Buffer | undefined): boolean =>
  bytes?.length === target.length &&
  Object.keys(target.hashes).length > 0 &&
  Object.entries(target.hashes).every(
    ([kind, hash]) =>
      /^sha(256|384|512)$/.test(kind) && createHash(kind).update(bytes).digest('hex') === hash,
  );

function pathOf(target: TargetFile, consistentSnapshot: boolean): string {
  const parts = target.path.split('/').map(encodeURIComponent);
  const name = parts.pop();
  const prefix = consistentSnapshot ? `${Object.values(target.hashes)[0]}.` : '';
  return [...parts, `${prefix}${name}`].join('/');
}

const [command, file] = positionals;
try {
  if (command === 'init' && file !== undefined) await init(file);
  else if (command === 'refresh') await update([]);
  else if (command === 'download') await update(values['target-name'] ?? []);
  else throw new Error('the command is init FILE, refresh or download');
} catch (error) {
  process.stderr.write(`${formatError(error)}\n`);
  process.exitCode = 1;
}
