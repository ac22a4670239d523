import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { version } from './version.ts';

/**
 * The commit that runs: of the checkout, or of the archive that was unpacked (`git archive` writes it into
 * lib/archived-commit.txt). Files are read, not git asked: it may be missing, and it refuses a checkout of another user.
 *
 * @returns 40 hex digits; undefined where neither is there.
 */
export function commitOf(directory: string): string | undefined {
  const read = (path: string): string => {
    try {
      return readFileSync(join(directory, path), 'utf8').trim();
    } catch {
      return '';
    }
  };
  const head = read('.git/HEAD');
  const branch = /^ref: (refs\/\S+)$/.exec(head)?.[1];
  const found = [head];
  if (branch !== undefined) {
    found.push(read(`.git/${branch}`));
    const packed = read('.git/packed-refs').split('\n');
    found.push(packed.find(line => line.endsWith(` ${branch}`))?.slice(0, 40) ?? '');
  }
  found.push(read('lib/archived-commit.txt'));
  return found.find(text => /^[0-9a-f]{40}$/.test(text));
}

const commit = commitOf(fileURLToPath(new URL('..', import.meta.url)));

/** Version and commit of this program: `0.1.0+g1a2b3c4d5e6f`; the version alone where the commit is not known. */
export const buildVersion: string = commit === undefined ? version : `${version}+g${commit.slice(0, 12)}`;
