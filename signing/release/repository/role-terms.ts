import { parseMetadata } from '../metadata/role-metadata.ts';
import type { MetadataBytes } from '../metadata/verify-metadata.ts';

/** Which version of a role is public, and until when its signature holds. */
export interface RoleTerm {
  version: number;
  expiresMs: number;
}

/** The terms of every role, as the files say; nothing is verified, so that what has expired is seen as well. @throws E_TUF_FORMAT. */
export function roleTerms(bytes: MetadataBytes): Record<string, RoleTerm> {
  const term = (type: 'root' | 'timestamp' | 'snapshot' | 'targets', content: Uint8Array, role: string) => {
    const { signed } = parseMetadata(type, content, `${role}.json`);
    return { version: signed.version, expiresMs: Date.parse(signed.expires) };
  };
  return {
    root: term('root', bytes.roots.at(-1)!, 'root'),
    timestamp: term('timestamp', bytes.timestamp, 'timestamp'),
    snapshot: term('snapshot', bytes.snapshot, 'snapshot'),
    targets: term('targets', bytes.targets, 'targets'),
    ...Object.fromEntries(
      Object.entries(bytes.roles).map(([role, content]) => [role, term('targets', content, role)]),
    ),
  };
}
