import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';

/** Request fields that select among the answers for one name (RFC 9111 4.1); `*`: no request selects one again. */
export type Nominated = readonly string[] | '*';

const MAX_NOMINATED = 4;
const MAX_VALUE = 256;
const MAX_VARIANTS = 8;
const MAX_NAMES = 1024;
/** Never passed on: credentials, what belongs to one connection, what this cache says for itself. */
const OWN =
  /^(authorization|cookie|proxy-.*|connection|keep-alive|te|trailer|transfer-encoding|upgrade|host|expect|content-.*|range|if-.*|cache-control|pragma|via|forwarded|x-forwarded-.*)$/;

/** Reads Vary. Accept-Encoding selects nothing here: upstreams are always asked for the identity. */
export function nominated(vary: string | undefined): Nominated {
  const names = new Set(
    (vary ?? '')
      .toLowerCase()
      .split(',')
      .map(name => name.trim()),
  );
  names.delete('');
  names.delete('accept-encoding');
  const unknown = [...names].some(name => !/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) || OWN.test(name));
  return unknown || names.has('*') || names.size > MAX_NOMINATED ? '*' : [...names].toSorted();
}

/** What a request has in the nominated fields, to pass on and to tell variants apart; long values count by their beginning. */
export function selecting(names: readonly string[], request: IncomingHttpHeaders): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of names) {
    // An upstream may name `constructor`, which every object has.
    const value = Object.hasOwn(request, name) ? request[name] : undefined;
    if (value === undefined) continue;
    values[name] = (Array.isArray(value) ? value.join(', ') : value)
      .trim()
      .replaceAll(/\s+/g, ' ')
      .slice(0, MAX_VALUE);
  }
  return values;
}

/** Which variants there are of the answers that vary; most do not. */
export class Variants {
  readonly #byName = new LRUCache<string, { names: readonly string[]; keys: LRUCache<string, true> }>({
    max: MAX_NAMES,
  });

  /** The request fields that are passed on for a name. */
  fields(name: string, request: IncomingHttpHeaders): Record<string, string> {
    return selecting(this.#byName.get(name)?.names ?? [], request);
  }

  /** The key under which the answer to such a request is kept. */
  key(name: string, request: IncomingHttpHeaders): string {
    const known = this.#byName.get(name);
    return known === undefined ? name : keyOf(name, known.names, request);
  }

  /**
   * Takes note of what an answer says it varies by.
   *
   * @param dropped is called with the key of a variant that is one too many.
   * @returns the key to keep it under.
   */
  learn(
    name: string,
    names: readonly string[],
    request: IncomingHttpHeaders,
    dropped: (key: string) => void,
  ): string {
    if (names.length === 0) {
      this.#byName.delete(name);
      return name;
    }
    let known = this.#byName.get(name);
    if (known === undefined || String(known.names) !== String(names)) {
      const keys = new LRUCache<string, true>({
        max: MAX_VARIANTS,
        dispose: (_value, key, reason) => {
          if (reason === 'evict') dropped(key);
        },
      });
      known = { names, keys };
      this.#byName.set(name, known);
    }
    const key = keyOf(name, names, request);
    known.keys.set(key, true);
    return key;
  }
}

const keyOf = (name: string, names: readonly string[], request: IncomingHttpHeaders): string =>
  `${name} ${JSON.stringify(names.map(field => [field, selecting([field], request)[field] ?? null]))}`;
