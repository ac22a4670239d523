import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { writeReproducibleTar } from '../../lib/reproducible-tar.ts';
import { collectFiles, type TrustSources } from './collect-files.ts';
import type { Issue } from './check-file.ts';

/** `manifest.json` of a bundle. */
export interface TrustManifest {
  schema: 1;
  builtAt: string;
  authorities: number;
  crls: number;
  /** When the first of the revocation lists runs out; null without one. */
  nextUpdate: string | null;
  lscFiles: number;
  vos: string[];
  policies: number;
}

export interface BuiltBundle {
  file: string;
  sha256: string;
  bytes: number;
  manifest: TrustManifest;
  warnings: Issue[];
}

/**
 * Packs authorities, revocation lists, VOMS servers and policy into one archive for bare nodes. The same files and the same
 * `builtAtMs` give the same bytes; nothing but what was understood travels.
 *
 * @throws E_TRUST_FILE, E_TRUST_EMPTY; E_FILE_MISSING, E_PERMISSION naming the directory.
 */
export async function buildBundle(
  options: TrustSources & { out: string; builtAtMs: number },
): Promise<BuiltBundle> {
  const { files, issues, nextUpdateMs, ...counts } = await collectFiles(options, options.builtAtMs);
  const { authorities, crls, lscFiles, vos, policies } = counts;
  const isoDate = (ms: number) => new Date(Math.floor(ms / 1000) * 1000).toISOString();
  const manifest: TrustManifest = {
    schema: 1,
    builtAt: isoDate(options.builtAtMs),
    authorities,
    crls,
    nextUpdate: nextUpdateMs === null ? null : isoDate(nextUpdateMs),
    lscFiles,
    vos,
    policies,
  };
  const entries = [...files].map(([path, content]) => ({ path, content }));
  const content = Buffer.from(`${JSON.stringify(manifest)}\n`);
  await writeReproducibleTar(options.out, [...entries, { path: 'manifest.json', content }], 9);
  const packed = await readFile(options.out);
  return {
    file: options.out,
    sha256: createHash('sha256').update(packed).digest('hex'),
    bytes: packed.length,
    manifest,
    warnings: issues,
  };
}
