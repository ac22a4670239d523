/** Directives of a Cache-Control field by lower-case name; `true` where there is no argument. */
export type Directives = ReadonlyMap<string, string | true>;

const DIRECTIVE = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?/g;
/** More than any cache lives, as RFC 9111 1.2.2 lets a too large number of seconds be read. */
const MAX_SECONDS = 2 ** 31;

/**
 * Reads Cache-Control (RFC 9111 5.2): names in any case, arguments as tokens or quoted, so that a list of fields in quotes
 * is one argument. One that is given twice with different arguments counts as the empty argument: invalid, and so stale
 * (4.2.1).
 */
export function parseCacheControl(field: string | undefined): Directives {
  const found = new Map<string, string | true>();
  for (const [, name, quoted, token] of (field ?? '').matchAll(DIRECTIVE)) {
    const key = name!.toLowerCase();
    const value = quoted ?? token ?? true;
    found.set(key, found.has(key) && found.get(key) !== value ? '' : value);
  }
  return found;
}

/** Seconds of a directive; undefined where it is not given, 0 where its argument is no number of seconds. */
export function secondsOf(directives: Directives, name: string): number | undefined {
  const value = directives.get(name);
  if (value === undefined) return undefined;
  return value !== true && /^\d+$/.test(value) ? Math.min(Number(value), MAX_SECONDS) : 0;
}
