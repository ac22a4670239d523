import type { ObjectName } from '../../http/object-name.ts';
import type { SignedPart } from './read-signed.ts';

/**
 * What a cache can tell of signed metadata by itself: it is a JSON object of the role and version in its name. Keeps error
 * pages and truncated files out; whether it is the file that the metadata above it names is told by {@link SignedNames}.
 *
 * @param read as `readSigned` gives it.
 * @returns undefined when it fits, else what was found.
 */
export function misfit(name: ObjectName, read: SignedPart | string): string | undefined {
  if (name.kind === 'other' || name.kind === 'hash-named') return undefined;
  if (typeof read === 'string') return read;
  const type = name.kind === 'versioned' ? (name.role === 'snapshot' ? 'snapshot' : 'targets') : name.kind;
  if (read.type !== type) return `a document of type ${read.type.slice(0, 40)}`;
  if (name.kind === 'timestamp') return read.version > 0 ? undefined : `version ${read.version}`;
  return read.version === name.version ? undefined : `version ${read.version}`;
}
