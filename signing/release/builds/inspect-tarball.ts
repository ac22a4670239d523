import { createHash } from 'node:crypto';
import { list } from 'tar';
import { signingError } from '../../errors.ts';

export interface TarballLimits {
  maxBytes: number;
  maxUnpackedBytes: number;
  maxFiles: number;
}

export const pilotLimits: TarballLimits = {
  maxBytes: 64 * 2 ** 20,
  maxUnpackedBytes: 256 * 2 ** 20,
  maxFiles: 200,
};
export const runtimeLimits: TarballLimits = {
  maxBytes: 256 * 2 ** 20,
  maxUnpackedBytes: 1024 * 2 ** 20,
  maxFiles: 64,
};

export interface TarballContents {
  unpackedBytes: number;
  /** Path in the tarball -> sha-256, sorted by path. */
  files: Record<string, string>;
  /** Paths with an execute bit for the owner. */
  executables: Set<string>;
  /** Bytes of the files asked for by name, at most 1 MiB each. */
  kept: Map<string, Buffer>;
}

/** No more than the wrapper accepts on a node: a name it refuses would stop every pilot of the channel. */
const SAFE_NAME = /^(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._+@-]*(\/[A-Za-z0-9._+@-]+)*$/;
const MAX_KEPT_BYTES = 1 << 20;

/**
 * Reads a `.tar.gz` without unpacking it: regular files and directories only, plain relative names, bounded in number
 * and size; the hash of each file.
 *
 * @param source what to call the tarball in errors.
 * @param keep files whose bytes are wanted.
 * @throws E_TARBALL_INVALID naming tarball and entry.
 */
export async function inspectTarball(options: {
  file: string;
  source: string;
  limits: TarballLimits;
  keep?: string[];
}): Promise<TarballContents> {
  const { limits, source } = options;
  const contents: TarballContents = { unpackedBytes: 0, files: {}, executables: new Set(), kept: new Map() };
  const hashes = new Map<string, string>();
  let refusal: Error | undefined;
  const refuse = (message: string, found: string, expected: string) => {
    refusal ??= invalidTarball(source, message, { found, expected });
  };
  try {
    await list({
      file: options.file,
      strict: true,
      onReadEntry(entry) {
        const name = entry.path.replace(/^\.\//, '').replace(/\/$/, '');
        if (refusal || (entry.type === 'Directory' && name === '') || name === '.') return entry.resume();
        if (!SAFE_NAME.test(name) || name.split('/').includes('.')) {
          refuse(
            'An entry has a name that is not allowed.',
            entry.path,
            'relative names of A-Z a-z 0-9 . _ + @ -, a letter, digit or _ first, no ..',
          );
        } else if (entry.type === 'Directory') {
          return entry.resume();
        } else if (entry.type !== 'File' && entry.type !== 'OldFile') {
          refuse(`The entry ${name} is not a regular file.`, entry.type, 'regular files and directories');
        } else if (hashes.has(name)) {
          refuse('An entry is there twice.', name, 'each name once');
        } else if (hashes.size >= limits.maxFiles) {
          refuse(
            'The tarball has too many files.',
            `more than ${limits.maxFiles}`,
            `at most ${limits.maxFiles}`,
          );
        } else if ((contents.unpackedBytes += entry.size) > limits.maxUnpackedBytes) {
          refuse(
            'The tarball is too large when unpacked.',
            `at least ${contents.unpackedBytes} bytes`,
            `at most ${limits.maxUnpackedBytes}`,
          );
        }
        if (refusal) return entry.resume();
        hashes.set(name, '');
        if (((entry.mode ?? 0) & 0o100) !== 0) contents.executables.add(name);
        const hash = createHash('sha256');
        const parts =
          options.keep?.includes(name) && entry.size <= MAX_KEPT_BYTES ? ([] as Buffer[]) : undefined;
        entry.on('data', (chunk: Buffer) => {
          hash.update(chunk);
          parts?.push(Buffer.from(chunk));
        });
        entry.on('end', () => {
          hashes.set(name, hash.digest('hex'));
          if (parts) contents.kept.set(name, Buffer.concat(parts));
        });
      },
    });
  } catch (error) {
    refusal ??= invalidTarball(source, `It is not a readable .tar.gz: ${(error as Error).message}.`);
  }
  if (refusal) throw refusal;
  contents.files = Object.fromEntries([...hashes].sort(([a], [b]) => (a < b ? -1 : 1)));
  return contents;
}

export const invalidTarball = (
  where: string,
  message: string,
  parts: { expected?: string; found?: string } = {},
) =>
  signingError({
    code: 'E_TARBALL_INVALID',
    message,
    where,
    ...parts,
    fix: 'Check that it is the file you meant, or build it again.',
  });
