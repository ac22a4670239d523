import type { PilotageError } from '../../../lib/errors.ts';
import { appendEvent, readEventLog } from '../repository/event-log.ts';
import { places } from '../layout.ts';
import { signingError } from '../../errors.ts';
import { pastNames } from '../repository/next-version.ts';
import { metadataPlace, readMetadata, readState, type ReleaseContext } from '../repository/repository.ts';
import { withRepositoryLock } from '../repository/repository-lock.ts';
import { parseMetadata, sha256Of } from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import { versionedNames } from '../repository/versioned-names.ts';
import { copyPublic, type CopyResult } from './copy-public.ts';
import type { PublicSource } from './public-source.ts';

export interface RecoverResult extends CopyResult {
  /** Signed or half-signed files that were dropped, and why; one sentence each. */
  dropped: string[];
  /** Where the lines of our log lie that the public one does not know; null when it continues ours. */
  setAside: string | null;
}

/**
 * Brings a repository that was restored from an older backup, or was damaged, up to what is publicly out there, so that
 * the next publish goes on from what clients have seen: roots, metadata, targets, log. Everything is verified from the
 * repository's own first root; what clients have seen may be expired, and is taken all the same.
 *
 * @param context.from a mirror, a store that was not restored, an export.
 * @throws as {@link copyPublic}; E_TUF_STALE when the source is older than the repository.
 */
export async function recoverRepository(
  context: ReleaseContext & { from: PublicSource },
): Promise<RecoverResult> {
  const { storage, clock, lockWaitSeconds, from } = context;
  await readState(storage);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () => {
    let setAside: string | null = null;
    const result = await copyPublic({
      from,
      to: storage,
      folder: 'public',
      trustedRoot: await readMetadata(storage, metadataPlace('root', 1)),
      clock,
      mayExpire: () => true,
      repairs: true,
      divergedLog: async (lines, common) => {
        const path = `recovered/log-from-line-${common + 1}-${sha256Of(lines).slice(0, 12)}.jsonl`;
        await storage.create(path, lines);
        setAside = storage.where(path);
      },
      onStep: context.onStep,
    });
    const dropped = await dropSuperseded(context);
    if (result.changed) await logRecovery(context, result);
    return { ...result, dropped, setAside };
  });
}

/** What was signed on the way that is no more: not newer than what was adopted, or unknown to the log that counts now. */
async function dropSuperseded({ storage, onStep }: ReleaseContext): Promise<string[]> {
  const logged = new Set(
    (await readEventLog(storage)).entries.map(({ role, version, sha256 }) => `${role} ${version} ${sha256}`),
  );
  const published = await publishedVersions(storage);
  const dropped: string[] = [];
  for (const place of [places.staged, places.pending]) {
    for (const { name, path, role, version } of await versionedNames(storage, place)) {
      const isLogged = logged.has(`${role} ${version} ${sha256Of(await readMetadata(storage, path))}`);
      const isNext = version > (published.get(role) ?? 0);
      if (isNext && (isLogged || place === places.pending)) continue;
      onStep?.(`drop ${path}`);
      await storage.remove(path);
      dropped.push(
        `${name} (${place}): ${isNext ? 'the log that counts does not tell of it' : 'that version is public'}; sign again what it said`,
      );
    }
  }
  return dropped;
}

async function publishedVersions(storage: Storage): Promise<Map<string, number>> {
  const read = async (role: string, version: number) => readMetadata(storage, metadataPlace(role, version));
  const { signed } = parseMetadata('timestamp', await read('timestamp', 0), 'timestamp.json');
  const snapshot = await read('snapshot', signed.snapshotMeta.version);
  const { meta } = parseMetadata('snapshot', snapshot, 'snapshot.json').signed;
  const versions = Object.entries(meta).map(([name, { version }]) => [name.replace(/\.json$/, ''), version]);
  const roots = (await versionedNames(storage, places.metadata)).filter(({ role }) => role === 'root');
  return new Map([
    ...(versions as [string, number][]),
    ['root', Math.max(...roots.map(({ version }) => version))],
  ]);
}

const logRecovery = (
  { storage, clock, actor, from }: ReleaseContext & { from: PublicSource },
  result: CopyResult,
) =>
  appendEvent(
    storage,
    {
      at: new Date(clock.now()).toISOString(),
      by: (actor ?? 'unknown').replace(/[^A-Za-z0-9@._-]/g, '_'),
      action: 'recover',
      role: 'timestamp',
      version: result.timestamp,
      sha256: null,
      keys: [],
      details: { from: from.name, snapshot: result.snapshot },
    },
    null,
  );

/**
 * Raises what the next versions follow, when nothing newer than the repository can be read any more but clients have seen
 * it: their stores and the server's log say which.
 *
 * @param context.past `timestamp=120,snapshot=14,stable=9,stable.serial=7`; numbers that clients have seen, or higher.
 * @returns every number in force.
 * @throws E_VERSION_INVALID.
 */
export async function raisePast(
  context: ReleaseContext & { past: string },
): Promise<{ past: Record<string, number> }> {
  const { storage, clock, lockWaitSeconds } = context;
  const told = parsePast(context.past);
  await readState(storage);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () => {
    const state = await readState(storage);
    const past = { ...state.past };
    for (const [name, number] of Object.entries(told)) past[name] = Math.max(past[name] ?? 0, number);
    context.onStep?.('write repository.json');
    await storage.replace(places.state, Buffer.from(JSON.stringify({ ...state, past }, null, 2) + '\n'));
    return { past };
  });
}

function parsePast(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(',').map(part => {
      const [, name = '', number = ''] = /^([a-z.]+)=([0-9]{1,8})$/.exec(part.trim()) ?? [];
      if (pastNames.includes(name)) return [name, Number(number)];
      throw invalidPast(part);
    }),
  );
}

const invalidPast = (found: string): PilotageError =>
  signingError({
    code: 'E_VERSION_INVALID',
    message: 'This names no number that can be raised.',
    where: '--past',
    expected: `NAME=NUMBER, by commas; names: ${pastNames.join(', ')}`,
    found: found.slice(0, 100),
    fix: 'A root cannot be raised: clients follow it one by one, so it must be found again, on a mirror or a node.',
  });
