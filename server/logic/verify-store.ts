import type { Logger } from '../../lib/log.ts';
import { channelTarget } from '../../signing/release/layout.ts';
import { readReleaseMetadata } from '../../signing/release/metadata/read-public.ts';
import type { StoreReader } from '../../signing/release/metadata/read-public.ts';
import { parseMetadata, sha256Of } from '../../signing/release/metadata/role-metadata.ts';
import { verifyMetadata } from '../../signing/release/metadata/verify-metadata.ts';
import type { MetadataBytes } from '../../signing/release/metadata/verify-metadata.ts';
import { channelOf, channelWord } from './release-state.ts';
import type { ReleaseState } from './release-state.ts';

/** Roles without which no queue has pilots. */
const NEEDED = ['root', 'timestamp', 'snapshot', 'targets', 'releases', 'queues'];

/**
 * Reads and verifies what the code store says now: floors, and what each channel says of versions.
 *
 * @param options.known what was verified before; nothing older is accepted.
 * @param options.queues names of this server's queues: the channels that they follow must be in force.
 * @throws what `read` and {@link verifyMetadata} throw.
 */
export async function verifyStore(
  read: StoreReader,
  options: {
    where: string;
    trustedRoot: Buffer;
    known: ReleaseState | null;
    queues: readonly string[];
    nowMs: number;
    log: Logger;
  },
): Promise<ReleaseState> {
  const { where, known, nowMs } = options;
  const all = await readReleaseMetadata(read, { where, trustedRoot: options.trustedRoot });
  const bytes = withoutExpired(all, nowMs, options.log);
  const onlineKeys = onlineKeysOf(bytes.roots.at(-1)!);
  const floors = known && { ...known.floors };
  if (floors && known.onlineKeys !== onlineKeys) floors.timestamp = floors.snapshot = 0;
  const { queues, channels, expiresMs, ...verified } = verifyMetadata(bytes, { nowMs, where, floors });
  const followed = options.queues.map(queue => channelOf(queues, queue)).filter(name => name !== '');
  return {
    floors: verified.floors,
    onlineKeys,
    freshUntilMs: Math.min(...[...NEEDED, ...followed].map(role => expiresMs[role] ?? 0)),
    channels: Object.fromEntries(Object.entries(channels).map(([name, to]) => [name, channelWord(to)])),
    queues,
  };
}

/** The bytes are verified afterwards; a root that is not one ends everything there. */
function onlineKeysOf(root: Uint8Array): string {
  const { roles } = parseMetadata('root', root, 'root.json').signed;
  return sha256Of(Buffer.from(JSON.stringify([roles.timestamp?.keyIDs, roles.snapshot?.keyIDs])));
}

/**
 * One expired channel must not hide what the others say: it is left out, and its last word stays. Only the very file that
 * the snapshot names, so that nobody else can have a role left out.
 */
function withoutExpired(bytes: MetadataBytes, nowMs: number, log: Logger): MetadataBytes {
  const { meta } = parseMetadata('snapshot', bytes.snapshot, 'snapshot.json').signed;
  const roles = { ...bytes.roles };
  const files = { ...bytes.files };
  for (const [role, content] of Object.entries(bytes.roles)) {
    if (NEEDED.includes(role) || meta[`${role}.json`]?.hashes?.sha256 !== sha256Of(content)) continue;
    const { expires } = parseMetadata('targets', content, `${role}.json`).signed;
    if (nowMs < Date.parse(expires)) continue;
    log.warn({ role, expires }, 'a role of the code store is expired; its last word stays in force');
    delete roles[role];
    delete files[channelTarget(role)];
  }
  return { ...bytes, roles, files };
}
