import { basename } from 'node:path';
import type { TargetFile } from '@tufjs/models';
import { libError } from '../../../lib/errors.ts';
import { readFileBounded } from '../../../lib/files.ts';
import { signingError } from '../../errors.ts';
import { pilotTarget } from '../layout.ts';
import type { Storage } from '../storage/storage.ts';
import { writeTarget } from '../repository/target-files.ts';

const MAX_FILES = 16;
const MAX_BYTES = 16 * 2 ** 20;

/**
 * Puts files that are signed beside a build (SBOM, provenance) in place as `pilot/<version>/<name>`.
 *
 * @param known what is signed already.
 * @returns those that are not signed yet.
 * @throws E_USAGE (too many, a name that is not plain), E_VERSION_EXISTS (signed with other bytes), E_FILE_MISSING,
 * E_FILE_UNREADABLE (larger than 16 MiB).
 */
export async function placeAttachments(
  storage: Storage,
  version: string,
  files: readonly string[],
  known: Readonly<Record<string, TargetFile>>,
): Promise<TargetFile[]> {
  const paths = files.map(file => `pilot/${version}/${basename(file)}`);
  const odd = paths.findIndex(
    (path, index) =>
      !/^pilot\/[^/]+\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(path) ||
      path === pilotTarget(version) ||
      paths.indexOf(path) !== index,
  );
  if (odd !== -1 || files.length > MAX_FILES) {
    throw libError({
      code: 'E_USAGE',
      message:
        odd === -1 ? 'There are too many files to attach.' : 'This file cannot be attached by this name.',
      where: '--attach',
      expected:
        odd === -1
          ? `at most ${MAX_FILES}`
          : 'names of letters, digits, dot, underscore, hyphen; each once; not that of the tarball',
      found: odd === -1 ? String(files.length) : basename(files[odd]!).slice(0, 100),
      fix: 'Rename it, or attach less.',
    });
  }
  const placed: TargetFile[] = [];
  for (const [index, file] of files.entries()) {
    const path = paths[index]!;
    const target = await writeTarget(storage, path, await readFileBounded(file, MAX_BYTES));
    const signed = known[path];
    if (!signed) placed.push(target);
    else if (signed.hashes.sha256 !== target.hashes.sha256) {
      throw signingError({
        code: 'E_VERSION_EXISTS',
        message: 'This attachment is already signed with other bytes.',
        where: path,
        expected: `sha256 ${signed.hashes.sha256}`,
        found: `sha256 ${target.hashes.sha256}`,
        rule: 'a version names the same bytes for ever',
        fix: 'Attach it under another name.',
      });
    }
  }
  return placed;
}
