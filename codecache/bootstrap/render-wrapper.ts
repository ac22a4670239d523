import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { codecacheError } from '../errors.ts';
import { pinOf } from '../pin.ts';

/** A wrapper travels with every job: it stays small. */
export const MAX_WRAPPER_BYTES = 20_000;

/** The program in the order in which a shell reads it; `main.sh` runs. */
const parts = ['report.sh', 'download.sh', 'verify.sh', 'release.sh', 'install.sh', 'main.sh'];

/**
 * The bootstrap wrapper with its pinned root: a POSIX sh script that needs awk, openssl, tar, gzip and curl or wget. Its
 * head is plain; program and root are packed in it.
 *
 * @param options.rootJson a root as published: minified, sorted, printable ASCII.
 * @throws E_WRAPPER_ROOT when the root cannot stand in a script, E_WRAPPER_TOO_LARGE.
 */
export function renderWrapper(options: { rootJson: Uint8Array | string }): string {
  const root = Buffer.from(options.rootJson).toString('latin1').trimEnd();
  if (!/^\{"signatures":\[\{[ !"#-&(-~]*\}$/.test(root)) {
    throw codecacheError({
      code: 'E_WRAPPER_ROOT',
      message: 'The root cannot be pinned in a wrapper.',
      where: 'root.json',
      expected: 'a published root: one line of minified, sorted, printable ASCII JSON',
      fix: 'Take metadata/1.root.json of the release repository as it is.',
    });
  }
  const values: Record<string, string> = {
    ROOT: packed(root),
    PIN: pinOf(options.rootJson),
    PROGRAM: packed(wrapperProgram()),
  };
  const wrapper = read('wrapper.sh').replace(/@([A-Z]+)@/g, (_text, name: string) => values[name]!);
  if (Buffer.byteLength(wrapper) > MAX_WRAPPER_BYTES) {
    throw codecacheError({
      code: 'E_WRAPPER_TOO_LARGE',
      message: 'The wrapper with this root is too large to travel with every job.',
      expected: `at most ${MAX_WRAPPER_BYTES} bytes`,
      found: `${Buffer.byteLength(wrapper)} bytes`,
      fix: 'Use fewer root keys.',
    });
  }
  return wrapper;
}

/** What `sh wrapper.sh --source` prints: the shell program with its awk part in it. */
export function wrapperProgram(): string {
  const quoted = compact(read('program/read-json.awk')).replaceAll("'", String.raw`'\''`);
  return [`READ_JSON='${quoted}'`, ...parts.map(part => compact(read(`program/${part}`)))].join('\n');
}

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');

/** Without indentation, comments and empty lines; no text in quotes starts a line with those. */
const compact = (source: string): string =>
  source
    .split('\n')
    .map(line => line.replace(/^\t+/, ''))
    .filter(line => line !== '' && !line.startsWith('#'))
    .join('\n');

/** In lines short enough for every openssl. */
const packed = (text: string): string =>
  gzipSync(text, { level: 9 })
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
