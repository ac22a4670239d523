import { Metadata, Root, Targets } from '@tufjs/models';
import { DelegatedRole as ModelDelegatedRole, Role as ModelRole } from '@tufjs/models/dist/role.js';
import { Delegations } from '@tufjs/models/dist/delegations.js';
import type { QueueChannels } from '../../../lib/protocol/release.ts';
import type { ReleaseConfig } from '../../config/schema.ts';
import { signingError } from '../../errors.ts';
import { modelKey, type KnownKey } from '../../keys/signer.ts';
import { stableJson } from '../../stable-json.ts';
import { authorityOf, checkAuthority } from './authority.ts';
import { chooseKeys, notEnough } from './choose-signers.ts';
import { delegatedPaths, delegatedRoles, places, QUEUES_TARGET, type Role } from '../layout.ts';
import { publishLocked } from './publish.ts';
import {
  metadataPlace,
  openRepository,
  readState,
  type ReleaseContext,
  type RepositoryState,
} from './repository.ts';
import { versionedNames } from './versioned-names.ts';
import { withRepositoryLock } from './repository-lock.ts';
import { allKeyNames, roleKeyNames } from './role-keys.ts';
import { expiryDate, parseMetadata, SPEC_VERSION } from '../metadata/role-metadata.ts';
import { keysByName, stageRole, type SigningState } from './stage-role.ts';
import type { Storage } from '../storage/storage.ts';
import { writeTarget } from './target-files.ts';

export interface InitResult {
  /** The directory or database. */
  repository: string;
  /** `public/`: what a store serves. */
  publicDirectory: string;
  /** The root to pin in wrappers. */
  rootFile: string;
  keysCreated: string[];
  keysReused: string[];
}

/**
 * Makes a release repository: keys that are missing, root, targets with its delegations, every delegated role still
 * empty, the queue map with its default channel, and publishes it. Run again after a crash it starts over; keys that
 * were made are kept.
 *
 * @throws E_REPOSITORY_EXISTS, E_KEY_SCHEME, E_THRESHOLD_NOT_MET (too many keys are public parts only), E_PASSPHRASE_WRONG.
 */
export async function initRepository(
  context: ReleaseContext & { config: ReleaseConfig },
): Promise<InitResult> {
  const { storage, clock, lockWaitSeconds } = context;
  await refuseExisting(storage);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () => {
    await refuseExisting(storage);
    const made = await makeKeys(context);
    for (const { path } of await versionedNames(storage, places.staged)) await storage.remove(path);
    await stageEverything(context, made.keys);
    const state: RepositoryState = {
      schema: 1,
      createdAt: new Date(context.clock.now()).toISOString(),
      config: context.config,
      keyNames: Object.fromEntries([...made.keys.values()].map(key => [key.keyId, key.name])),
    };
    context.onStep?.('write repository.json');
    await storage.replace(places.state, Buffer.from(JSON.stringify(state, null, 2) + '\n'));
    await publishLocked(await openRepository(context), 'init');
    return {
      repository: storage.name,
      publicDirectory: storage.where(places.public),
      rootFile: storage.where(metadataPlace('root', 1)),
      keysCreated: made.created,
      keysReused: made.reused,
    };
  });
}

async function refuseExisting(storage: Storage): Promise<void> {
  const refuse = () =>
    signingError({
      code: 'E_REPOSITORY_EXISTS',
      message: 'There is already a release repository here.',
      where: storage.name,
      fix: 'Name another directory with --repo, or use this one; "release publish" completes an init that was cut short.',
    });
  try {
    await readState(storage);
  } catch (error) {
    if ((error as { code?: string }).code !== 'E_REPOSITORY_MISSING') throw error;
    if ((await versionedNames(storage, places.metadata)).length > 0) throw refuse();
    return;
  }
  throw refuse();
}

async function makeKeys(context: ReleaseContext & { config: ReleaseConfig }) {
  const names = allKeyNames(context.config);
  let here: Map<string, KnownKey>;
  try {
    here = await keysByName(context.keys);
  } catch (error) {
    if ((error as { code?: string }).code !== 'E_KEY_MISSING') throw error;
    here = new Map();
  }
  const keys = new Map<string, KnownKey>();
  for (const name of names) {
    if (!here.has(name)) context.onStep?.(`make key ${name}`);
    keys.set(name, here.get(name) ?? (await context.keys.create(name)));
  }
  return {
    keys,
    created: names.filter(name => !here.has(name)),
    reused: names.filter(name => here.has(name)),
  };
}

/** A repository cannot wait for its first signatures. */
const ENOUGH_HERE =
  'Bring the key files of enough of them into --keys for the init. Or take their .pub.json out of it, so that keys are made here, and hand the role over afterwards: release rotate-key ROLE --remove NAME --add OWNER.';

async function stageEverything(
  context: ReleaseContext & { config: ReleaseConfig },
  keys: Map<string, KnownKey>,
): Promise<void> {
  const { config, clock, storage } = context;
  const names = roleKeyNames(config);
  const idsOf = (role: Role) => names[role].map(name => keys.get(name)!.keyId);
  const modelsOf = (roles: readonly Role[]) =>
    Object.fromEntries(
      roles.flatMap(role => names[role].map(name => [keys.get(name)!.keyId, modelKey(keys.get(name)!)])),
    );

  const topRoles = ['root', 'targets', 'snapshot', 'timestamp'] as const;
  const makeRoot = (expires: string) =>
    new Root({
      version: 1,
      specVersion: SPEC_VERSION,
      expires,
      consistentSnapshot: true,
      keys: modelsOf(topRoles),
      roles: Object.fromEntries(
        topRoles.map(role => [
          role,
          new ModelRole({ keyIDs: idsOf(role), threshold: config[role].threshold }),
        ]),
      ),
    });
  const makeTargets = (expires: string) =>
    new Targets({
      version: 1,
      specVersion: SPEC_VERSION,
      expires,
      targets: {},
      delegations: new Delegations({
        keys: modelsOf(delegatedRoles),
        roles: Object.fromEntries(
          delegatedRoles.map(name => [
            name,
            new ModelDelegatedRole({
              name,
              keyIDs: idsOf(name),
              threshold: config[name].threshold,
              terminating: true,
              paths: delegatedPaths[name],
            }),
          ]),
        ),
      }),
    });

  const soon = expiryDate(clock.now(), 60);
  const state: SigningState = {
    context,
    storage,
    keyNames: Object.fromEntries([...keys.values()].map(key => [key.keyId, key.name])),
    bareNodes: config.bareNodes,
    root: { metadata: new Metadata(makeRoot(soon)) },
    targets: { metadata: new Metadata(makeTargets(soon)) },
    anchor: null,
  };
  for (const role of [...topRoles, ...delegatedRoles]) {
    const authority = authorityOf(state, role);
    checkAuthority(authority, config.bareNodes);
    const { keys: here, lacking } = await chooseKeys(context.keys, { ...state, required: [authority] });
    if (lacking) throw notEnough(lacking, here, state.keyNames, ENOUGH_HERE);
  }
  const rootBytes = await stageRole(state, { role: 'root', action: 'init' }, config.root, makeRoot);
  state.root = { metadata: parseMetadata('root', rootBytes, 'root') };
  const targetsBytes = await stageRole(
    state,
    { role: 'targets', action: 'init' },
    config.targets,
    makeTargets,
  );
  state.targets = { metadata: parseMetadata('targets', targetsBytes, 'targets') };

  const map: QueueChannels = { schema: 1, serial: 1, default: config.defaultChannel, queues: {} };
  const queueTarget = await writeTarget(storage, QUEUES_TARGET, stableJson(map));
  for (const role of delegatedRoles) {
    await stageRole(
      state,
      { role, action: 'init' },
      config[role],
      expires =>
        new Targets({
          version: 1,
          specVersion: SPEC_VERSION,
          expires,
          targets: role === 'queues' ? { [queueTarget.path]: queueTarget } : {},
        }),
    );
  }
}
