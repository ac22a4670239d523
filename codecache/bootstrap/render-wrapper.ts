import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { codecacheError } from '../errors.ts';
import { pinOf } from '../pin.ts';

/** A wrapper travels with every job: it stays small. With the default number of keys it is below 20 kB. */
export const MAX_WRAPPER_BYTES = 24_000;

/**
 * The bootstrap wrapper with its pinned root: a POSIX sh script that needs awk, openssl, tar, gzip and
 * curl or wget.
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
  const template = readFileSync(new URL('./wrapper.sh', import.meta.url), 'utf8');
  const wrapper = compact(template)
    .replace(
      '@ROOT_GZIP@',
      gzipSync(root, { level: 9 })
        .toString('base64')
        .replace(/.{64}(?=.)/g, '$&\n'),
    )
    .replace('@ROOT_PIN@', pinOf(options.rootJson));
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

/** Without indentation, comments and blanks around operators; the template is for reading. No text in quotes has them. */
const compact = (template: string): string =>
  `${template
    .split('\n')
    .map(line =>
      line
        .replace(/^\t+/, '')
        .replace(/(\(\)\{) #.*$/, '$1')
        .replace(/ ?(\|\||&&|;;) ?/g, '$1'),
    )
    .filter((line, index) => index === 0 || !/^(#|$)/.test(line))
    .join('\n')}\n`;
