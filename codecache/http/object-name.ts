/** What a path of the code store is, which decides how long it may be kept and how it can be checked (code-store 4.4). */
export type ObjectName =
  | { kind: 'timestamp'; path: string }
  | { kind: 'root'; path: string; version: number }
  | { kind: 'versioned'; path: string; version: number; role: string }
  | { kind: 'hash-named'; path: string; sha256: string }
  | { kind: 'other'; path: string };

const MAX_PATH = 512;
const PART = /^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$/;

/**
 * Turns a request target into a path below a public code store, or undefined when it names nothing that may be served.
 * Only origin-form targets without a query pass; every part is [A-Za-z0-9._+-] and does not begin with a dot, so no
 * decoded text can leave the directory, name a hidden or temporary file, or carry a control character.
 */
export function publicPath(target: string): string | undefined {
  if (target.length > MAX_PATH * 3 || !target.startsWith('/')) return undefined;
  let path: string;
  try {
    path = decodeURIComponent(target.slice(1));
  } catch {
    return undefined;
  }
  if (path.length > MAX_PATH) return undefined;
  const parts = path.split('/');
  if (parts.length < 2 || (parts[0] !== 'metadata' && parts[0] !== 'targets')) return undefined;
  return parts.every(part => PART.test(part)) ? path : undefined;
}

/** Classifies a path that {@link publicPath} let through. */
export function objectName(path: string): ObjectName {
  const base = path.slice(path.lastIndexOf('/') + 1);
  if (path.startsWith('targets/')) {
    const sha256 = /^([0-9a-f]{64})\../.exec(base)?.[1];
    return sha256 === undefined ? { kind: 'other', path } : { kind: 'hash-named', path, sha256 };
  }
  if (path === 'metadata/timestamp.json') return { kind: 'timestamp', path };
  const versioned = /^metadata\/([1-9][0-9]{0,14})\.([a-z0-9-]{1,64})\.json$/.exec(path);
  if (versioned === null) return { kind: 'other', path };
  const version = Number(versioned[1]);
  const role = versioned[2]!;
  return role === 'root' ? { kind: 'root', path, version } : { kind: 'versioned', path, version, role };
}
