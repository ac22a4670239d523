import { canonicalize } from '@tufjs/canonical-json';

/** JSON as signed metadata may hold it: no fractions, ASCII text only. */
export type PlainJson = null | boolean | number | string | PlainJson[] | { [key: string]: PlainJson };

/**
 * The one on-disk form of signed files: minified, keys sorted by code unit, ASCII. With this form the signed bytes are
 * the file's bytes with `\n` un-escaped, which is what a POSIX shell can check (code-store 4.5).
 *
 * @throws TypeError for text outside printable ASCII and newline, for quotes and backslashes, and for fractions.
 */
export const stableJson = (value: unknown): Buffer => Buffer.from(encode(value as PlainJson));

/** The bytes that are signed and of which key ids are made (OLPC canonical JSON, TUF 1.0.31 section 4.2). */
export const canonicalBytes = (value: unknown): Buffer => Buffer.from(canonicalize(value));

function encode(value: PlainJson): string {
  if (typeof value === 'string') return JSON.stringify(plainText(value));
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map(encode).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`signed JSON cannot hold ${String(value)}`);
  const entries = Object.entries(value).filter(([, item]) => (item as unknown) !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(plainText(key))}:${encode(item)}`).join(',')}}`;
}

function plainText(text: string): string {
  if (!/^[\n\x20-\x7e]*$/.test(text) || /["\\]/.test(text)) {
    throw new TypeError(
      `signed JSON holds plain ASCII without quotes and backslashes, not ${JSON.stringify(text)}`,
    );
  }
  return text;
}
