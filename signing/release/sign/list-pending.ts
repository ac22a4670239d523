import { removePending } from './move-staged.ts';
import { readPending } from './pending.ts';
import { signingState } from '../repository/publish.ts';
import type { Repository } from '../repository/repository.ts';
import { sha256Of } from '../metadata/role-metadata.ts';
import { logEvent } from '../repository/stage-role.ts';
import { nothingPending } from './export-request.ts';
import { missingOf } from './import-request.ts';

/** A version of a role that waits. */
export interface PendingStatus {
  role: string;
  version: number;
  expires: string;
  /** Names of the keys that signed. */
  signedBy: string[];
  /** Signatures still missing; 0 when it waits for other roles that it belongs to. */
  missing: number;
}

/** What waits for signatures. */
export async function listPending(repository: Repository): Promise<PendingStatus[]> {
  const pending = await readPending(repository);
  return pending.map(item => ({
    role: item.role,
    version: item.version,
    expires: item.metadata.signed.expires,
    signedBy: Object.keys(item.metadata.signatures).map(
      keyId => repository.state.keyNames[keyId] ?? keyId.slice(0, 12),
    ),
    missing: missingOf(repository, item, pending),
  }));
}

/** Takes a proposal back; the log keeps that there was one. @throws E_PENDING_MISSING. */
export async function dropPending(
  repository: Repository,
  role: string,
): Promise<{ role: string; version: number }> {
  const item = (await readPending(repository)).find(found => found.role === role);
  if (!item) throw nothingPending(repository.storage.name, [role]);
  const event = { role: item.role, action: 'drop' };
  await logEvent(signingState(repository), event, item.metadata.signed, [], sha256Of(item.bytes));
  await removePending(repository.storage, [item.role]);
  return { role: item.role, version: item.version };
}
