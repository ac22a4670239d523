/** What one file of signed metadata says of another. */
export interface Meta {
  version: number;
  length: number | undefined;
  sha256: string | undefined;
}

export interface Target {
  sha256: string;
  /** Bytes. */
  length: number;
}

/** Signed metadata as far as a cache reads it: no signature is judged here. */
export interface SignedPart {
  type: string;
  version: number;
  /** Epoch milliseconds; NaN where there is no date. */
  expiresMs: number;
  /** By file name without version, `releases.json`; of a timestamp and a snapshot. */
  meta: ReadonlyMap<string, Meta>;
  /** Targets by path; of a role of targets. */
  targets: ReadonlyMap<string, Target>;
}

type Found = Record<string, unknown>;
const isObject = (value: unknown): value is Found =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const SHA256 = /^[0-9a-f]{64}$/;

/** @returns the reason where it is no metadata (TUF 1.0.31 section 4). */
export function readSigned(body: Buffer): SignedPart | string {
  let document: unknown;
  try {
    document = JSON.parse(body.toString('utf8'));
  } catch {
    return 'bytes that are not JSON';
  }
  const signed = isObject(document) ? document.signed : undefined;
  if (!isObject(signed)) return 'JSON without a signed part';
  const { _type: type, version, expires } = signed;
  if (typeof type !== 'string' || !Number.isSafeInteger(version)) return 'JSON without a type and a version';
  const meta = new Map<string, Meta>();
  for (const [file, value] of entries(signed.meta)) {
    const { version: named, length } = value;
    if (!Number.isSafeInteger(named)) continue;
    meta.set(file, {
      version: named as number,
      length: Number.isSafeInteger(length) ? (length as number) : undefined,
      sha256: sha256Of(value),
    });
  }
  const targets = new Map<string, Target>();
  for (const [path, value] of entries(signed.targets)) {
    const sha256 = sha256Of(value);
    const { length } = value;
    if (sha256 !== undefined && Number.isSafeInteger(length))
      targets.set(path, { sha256, length: length as number });
  }
  return {
    type,
    version: version as number,
    expiresMs: typeof expires === 'string' ? Date.parse(expires) : Number.NaN,
    meta,
    targets,
  };
}

const entries = (value: unknown): [string, Found][] =>
  isObject(value)
    ? Object.entries(value).filter((entry): entry is [string, Found] => isObject(entry[1]))
    : [];

function sha256Of({ hashes }: Found): string | undefined {
  const sha256 = isObject(hashes) ? hashes.sha256 : undefined;
  return typeof sha256 === 'string' && SHA256.test(sha256) ? sha256 : undefined;
}
