import type { ObjectName } from '../../http/object-name.ts';

/**
 * What a cache can tell of signed metadata without keys: it is a JSON object of the role and version in its name. Keeps
 * error pages and truncated files out; forgery is found by the client.
 *
 * @returns undefined when it fits, else what was found.
 */
export function misfit(name: ObjectName, body: Buffer): string | undefined {
  if (name.kind === 'other' || name.kind === 'hash-named') return undefined;
  let signed: { _type?: unknown; version?: unknown } | undefined;
  try {
    signed = (JSON.parse(body.toString('utf8')) as { signed?: typeof signed }).signed;
  } catch {
    return 'bytes that are not JSON';
  }
  if (typeof signed !== 'object' || signed === null) return 'JSON without a signed part';
  const type = name.kind === 'versioned' ? (name.role === 'snapshot' ? 'snapshot' : 'targets') : name.kind;
  if (signed._type !== type) return `a document of type ${String(signed._type).slice(0, 40)}`;
  if (name.kind !== 'timestamp' && signed.version !== name.version)
    return `version ${String(signed.version).slice(0, 20)}`;
  return undefined;
}
