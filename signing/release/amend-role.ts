import { Root, Targets } from '@tufjs/models';
import type { TargetFile } from '@tufjs/models';
import type { LogEntry } from './event-log.ts';
import type { DelegatedRole, Role } from './layout.ts';
import { signingState } from './publish.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { SPEC_VERSION } from './role-metadata.ts';
import { stageRole } from './stage-role.ts';

/** Stages the next version of a delegated role with `changed` targets put in or replaced. */
export async function amendRole(
  repository: Repository,
  role: DelegatedRole,
  changed: readonly TargetFile[],
  event: { action: string; details?: LogEntry['details'] },
  keyNames?: readonly string[],
): Promise<number> {
  const { version, targets } = repository.roles[role].metadata.signed;
  await stageRole(
    signingState(repository),
    { role, ...event },
    { expiresSeconds: repository.state.config[role].expiresSeconds, keyNames },
    expires =>
      new Targets({
        version: version + 1,
        specVersion: SPEC_VERSION,
        expires,
        targets: { ...targets, ...Object.fromEntries(changed.map(target => [target.path, target])) },
      }),
  );
  return version + 1;
}

/**
 * Signs a role again with the same content and a new expiry date; takes effect with the next publish.
 *
 * @throws E_THRESHOLD_NOT_MET, E_KEY_MISSING, E_KEY_NOT_AUTHORIZED, E_PASSPHRASE_WRONG.
 */
export const resignRole = (
  context: ReleaseContext & { role: Exclude<Role, 'snapshot' | 'timestamp'>; keyNames?: readonly string[] },
): Promise<{ role: string; version: number }> =>
  withRepository(context, async repository => {
    const { role } = context;
    const { expiresSeconds } = repository.state.config[role];
    const event = { role, action: 'resign' };
    const options = { expiresSeconds, keyNames: context.keyNames };
    if (role === 'root') {
      const { keys, roles, version } = repository.root.metadata.signed;
      await stageRole(
        signingState(repository),
        event,
        options,
        expires =>
          new Root({
            version: version + 1,
            specVersion: SPEC_VERSION,
            expires,
            consistentSnapshot: true,
            keys,
            roles,
          }),
      );
      return { role, version: version + 1 };
    }
    const file = role === 'targets' ? repository.targets : repository.roles[role];
    const { version, targets, delegations } = file.metadata.signed;
    await stageRole(
      signingState(repository),
      event,
      options,
      expires =>
        new Targets({
          version: version + 1,
          specVersion: SPEC_VERSION,
          expires,
          targets,
          ...(delegations ? { delegations } : {}),
        }),
    );
    return { role, version: version + 1 };
  });
