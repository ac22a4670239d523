import type { Metadata, Root } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { metadataName } from '../layout.ts';
import { MAX_METADATA_BYTES, parseMetadata } from '../metadata/role-metadata.ts';
import { TrustedMetadata } from '../metadata/trusted-metadata.ts';
import { missing, type Copy } from './copy.ts';

const MAX_ROOTS = 1024;

/** The chain of roots that a copy works with. */
export interface RootChain {
  /** Those that are not here yet, or not so, in order. */
  fresh: { path: string; bytes: Buffer }[];
  /** The newest root in force; what was here of timestamp and snapshot is recalled. */
  trusted: TrustedMetadata;
  /** The newest root that was here before; null when there was none. */
  before: Metadata<Root> | null;
}

/** Reads the whole chain from version 1 on and verifies it; it must go through the pinned root. */
export async function readRoots(copy: Copy): Promise<RootChain> {
  const { from, to, trustedRoot } = copy;
  const pinned = parseMetadata('root', trustedRoot, 'the pinned root').signed.version;
  const chain: Pick<RootChain, 'fresh' | 'before'> = { fresh: [], before: null };
  let trusted: TrustedMetadata | undefined;
  let version = 1;
  for (; version <= MAX_ROOTS; version += 1) {
    const path = `metadata/${metadataName('root', version)}`;
    const own = await to.read(copy.at(path), MAX_METADATA_BYTES);
    const bytes = copy.repairs ? ((await from.read(path)) ?? own) : (own ?? (await from.read(path)));
    const isNew = !bytes || !own?.equals(bytes);
    if (isNew && trusted && !chain.before) {
      await recall(copy, trusted);
      if (chain.fresh.length === 0) chain.before = trusted.root;
    }
    if (!bytes) break;
    if (version === pinned && !Buffer.from(bytes).equals(trustedRoot)) {
      throw isNew ? otherSource(`${from.name}/${path}`) : otherTarget(to.where(copy.at(path)));
    }
    if (trusted) trusted.updateRoot(bytes);
    else {
      const at = (file: string) => `${from.name}/${file}`;
      trusted = new TrustedMetadata(bytes, { nowMs: copy.clock.now(), at, mayExpire: copy.mayExpire });
    }
    if (isNew) chain.fresh.push({ path, bytes: Buffer.from(bytes) });
  }
  if (!trusted || version <= pinned) throw missing(from, `metadata/${metadataName('root', pinned)}`);
  return { ...chain, trusted };
}

/** What was copied before is the least from now on. What the newest root does not accept was left by a cut rotation. */
async function recall({ to, at, repairs }: Copy, trusted: TrustedMetadata): Promise<void> {
  const timestamp = await to.read(at('metadata/timestamp.json'), MAX_METADATA_BYTES);
  if (!timestamp) return;
  try {
    trusted.recallTimestamp(timestamp);
    const { version } = trusted.timestamp.signed.snapshotMeta;
    const snapshot = await to.read(at(`metadata/${metadataName('snapshot', version)}`), MAX_METADATA_BYTES);
    if (snapshot) trusted.recallSnapshot(snapshot);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== 'E_TUF_SIGNATURE' && !(repairs && code === 'E_TUF_FORMAT')) throw error;
  }
}

const otherRepository = (where: string, fix: string) =>
  signingError({
    code: 'E_TUF_SIGNATURE',
    message: 'This is another repository: its root of that version is not the pinned one.',
    where,
    rule: 'everything is verified from the pinned root on',
    fix,
  });

const otherSource = (where: string) =>
  otherRepository(where, 'Check the address, and the file given as --root.');
const otherTarget = (where: string) =>
  otherRepository(where, 'Name an empty place to copy to; this one holds a copy of something else.');
