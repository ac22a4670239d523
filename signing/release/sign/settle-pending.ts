import type { Targets } from '@tufjs/models';
import { ChannelPointer } from '../../../lib/protocol/release.ts';
import { isSignedFor, shortfall, signersNeeded } from '../repository/authority.ts';
import { readEventLog, type LogEntry } from '../repository/event-log.ts';
import { channels, channelTarget, delegatedRoles, metadataName, type PeoplesRole } from '../layout.ts';
import { startable } from '../metadata/verify-pointer.ts';
import { readTarget } from '../repository/target-files.ts';
import { moveToStaged } from './move-staged.ts';
import { newestFile, readPending, type Pending } from './pending.ts';
import { signingState } from '../repository/publish.ts';
import type { Repository } from '../repository/repository.ts';
import { sha256Of } from '../metadata/role-metadata.ts';
import { logEvent, trustWith } from '../repository/stage-role.ts';

/**
 * Stages what has enough signatures by now, together where roles belong together, and logs it with all its signers.
 *
 * @returns the roles that were staged.
 */
export async function settlePending(repository: Repository): Promise<PeoplesRole[]> {
  const pending = await readPending(repository);
  const ready = await readyTogether(repository, pending);
  if (ready.length === 0) return [];
  const state = signingState(repository);
  const { entries } = await readEventLog(repository.storage, repository.anchor);
  for (const { role, version, metadata, bytes } of ready) {
    const { action, details } = proposalOf(entries, role, version);
    const signers = Object.keys(metadata.signatures).map(keyId => ({
      name: repository.state.keyNames[keyId] ?? keyId.slice(0, 12),
      keyId,
    }));
    await logEvent(state, { role, action, details }, metadata.signed, signers, sha256Of(bytes));
  }
  repository.context.onStep?.(`stage ${ready.map(({ role }) => role).join(' ')}`);
  await moveToStaged(
    repository.storage,
    new Map(ready.map(({ role, version, bytes }) => [metadataName(role, version), bytes])),
  );
  return ready.map(({ role }) => role);
}

/** What was proposed, as the log tells it. */
function proposalOf(entries: readonly LogEntry[], role: string, version: number) {
  const entry = entries.findLast(
    found => found.action === 'propose' && found.role === role && found.version === version,
  );
  const { action, ...details } = entry?.details ?? {};
  return { action: typeof action === 'string' ? action : 'sign', details };
}

/** The largest set that is fully signed and leaves every other role readable; else a single one that is. */
async function readyTogether(repository: Repository, pending: readonly Pending[]): Promise<Pending[]> {
  let set = [...pending];
  for (;;) {
    const signed = set.filter(item => isFullySigned(repository, set, item));
    if (signed.length === set.length) break;
    set = signed;
  }
  if (await leavesAllReadable(repository, set)) return set;
  for (const item of set) {
    if (isFullySigned(repository, [item], item) && (await leavesAllReadable(repository, [item])))
      return [item];
  }
  return [];
}

function isFullySigned(
  repository: Repository,
  set: readonly Pending[],
  { role, metadata }: Pending,
): boolean {
  const { required } = signersNeeded(role, repository, trustWith(repository, draftsOf(set)));
  const signedBy = new Set(Object.keys(metadata.signatures));
  return shortfall(required, signedBy, repository.state.config.bareNodes) === null;
}

/**
 * Whether each role, with what the set changes, is signed by keys that its delegator then lists, and no channel comes to
 * name a build that `releases` does not sign: it may have been withdrawn while the channel waited.
 */
async function leavesAllReadable(repository: Repository, set: readonly Pending[]): Promise<boolean> {
  const next = trustWith(repository, draftsOf(set));
  const fileOf = (role: PeoplesRole) =>
    set.find(item => item.role === role)?.metadata ?? newestFile(repository, role).metadata;
  return (
    isSignedFor(next.root.metadata, 'targets', fileOf('targets')) &&
    delegatedRoles.every(role => isSignedFor(next.targets.metadata, role, fileOf(role))) &&
    (await namesSignedBuilds(repository, set))
  );
}

async function namesSignedBuilds(repository: Repository, set: readonly Pending[]): Promise<boolean> {
  const changed = (role: PeoplesRole) =>
    set.find(item => item.role === role)?.metadata.signed as Targets | undefined;
  const releases = changed('releases');
  const signed = (releases ?? repository.roles.releases.metadata.signed).targets;
  for (const channel of channels) {
    const role = changed(channel) ?? (releases && repository.roles[channel].metadata.signed);
    const target = role?.targets[channelTarget(channel)];
    if (!target) continue;
    const bytes = await readTarget(repository.storage, target);
    const pointer = ChannelPointer.parse(JSON.parse(bytes.toString('utf8')));
    if (!startable(pointer).every(({ path, sha256 }) => signed[path]?.hashes.sha256 === sha256)) return false;
  }
  return true;
}

const draftsOf = (set: readonly Pending[]) =>
  set.map(({ role, metadata }) => ({ role, signed: metadata.signed }));
