import { PilotageError } from '../../../lib/errors.ts';
import type { Floors } from '../../../lib/protocol/release.ts';
import { signingError } from '../../errors.ts';
import { isSignedFor } from './authority.ts';
import { readEventLog } from './event-log.ts';
import { places, type Role } from '../layout.ts';
import { finishMove } from '../sign/move-staged.ts';
import { newestSeen } from './next-version.ts';
import { unpublished } from './publish.ts';
import { readReleaseMetadata, storageReader } from '../metadata/read-public.ts';
import { openRepository, readState, type ReleaseContext, type Repository } from './repository.ts';
import { withRepositoryLock } from './repository-lock.ts';
import { verifyTarget } from './target-files.ts';
import { unloggedFiles } from './unlogged-files.ts';
import { verifyMetadata, type VerifiedMetadata } from '../metadata/verify-metadata.ts';
import { versionedNames } from './versioned-names.ts';

/** Something that is wrong in a repository, or that someone has to do. */
export interface Problem {
  /** An error code, or a word for advice: role-due, staged, pending, current-withdrawn, behind-seen. */
  code: string;
  message: string;
  /** File, role or channel. */
  where: string;
  /** The command that helps. */
  fix: string;
  /** Errors are wrong now; advice is work to come. */
  severity: 'error' | 'advice';
}

export interface RoleStatus {
  version: number;
  expires: string;
  secondsLeft: number;
  /** True with less time left than the configuration wants: someone has to sign. */
  due: boolean;
}

export interface RepositoryStatus {
  /** Null when what clients see cannot be verified. */
  floors: Floors | null;
  roles: Record<string, RoleStatus>;
  channels: Record<string, { version: string; serial: number }>;
  /** Roles that are signed but not yet published. */
  staged: string[];
  targets: number;
  logEntries: number;
  problems: Problem[];
}

/** What was found, with the error behind each problem where there is one. */
export interface Inspection {
  status: RepositoryStatus;
  errors: PilotageError[];
}

/** These say that bytes are not those that were signed; a copy has them. */
const RECOVERABLE =
  /^E_(TARGET_HASH|TARGET_LENGTH|FILE_MISSING|FILE_UNREADABLE|TUF_FORMAT|TUF_HASH|TUF_SIGNATURE|LOG_TAMPERED|REPOSITORY_UNREADABLE)$/;
const RECOVER = 'pilotage release recover --from URL (a mirror, or a store that still has it)';

/**
 * Looks at a whole repository, what clients see, every target's bytes and the log, and says what is wrong and what there is
 * to do; one fault does not hide the next.
 *
 * @throws E_REPOSITORY_MISSING, E_REPOSITORY_UNREADABLE for repository.json, E_REPOSITORY_LOCKED.
 */
export async function inspectRepository(context: ReleaseContext): Promise<Inspection> {
  const { storage, clock, lockWaitSeconds } = context;
  await readState(storage);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () => {
    await finishMove(storage);
    const inspector = new Inspector(context);
    await inspector.look();
    return inspector;
  });
}

class Inspector implements Inspection {
  readonly errors: PilotageError[] = [];
  readonly status: RepositoryStatus = {
    floors: null,
    roles: {},
    channels: {},
    staged: [],
    targets: 0,
    logEntries: 0,
    problems: [],
  };
  readonly #context: ReleaseContext;

  constructor(context: ReleaseContext) {
    this.#context = context;
  }

  async look(): Promise<void> {
    await this.#lookAtLeftovers();
    const repository = await this.#try(() => openRepository(this.#context));
    if (!repository) return;
    await this.#lookAtLog(repository);
    const { published, publicRoot } = repository;
    if (!published) return this.#failed(unpublished(this.#context.storage.name));
    if (publicRoot && !isSignedFor(publicRoot, 'timestamp', published.timestamp)) {
      return this.#failed(rotationUnfinished(this.#context.storage.name, publicRoot.signed.version));
    }
    const verified = await this.#try(() => this.#verify());
    if (!verified) return;
    this.status.floors = verified.floors;
    this.#lookAtRoles(repository, verified);
    this.#lookAtChannels(verified);
    this.status.targets = verified.targets.size;
    for (const target of verified.targets.values()) {
      this.#context.onStep?.(`verify ${target.path}`);
      await this.#try(() => verifyTarget(this.#context.storage, target));
    }
  }

  async #lookAtLeftovers(): Promise<void> {
    const { storage } = this.#context;
    for (const { name, path } of await versionedNames(storage, places.staged)) {
      this.status.staged.push(name);
      this.#advise(
        'staged',
        'It is signed, but not public.',
        storage.where(path),
        'pilotage release publish',
      );
    }
    for (const { path } of await versionedNames(storage, places.pending)) {
      this.#advise(
        'pending',
        'It waits for more signatures.',
        storage.where(path),
        'pilotage release sign --repo REPOSITORY --export FILE, and send it to who has a key',
      );
    }
  }

  async #lookAtLog(repository: Repository): Promise<void> {
    const log = await this.#try(() => readEventLog(repository.storage, repository.anchor));
    if (!log) return;
    this.status.logEntries = log.entries.length;
    for (const error of await unloggedFiles(repository.storage, log.entries)) this.#failed(error);
  }

  async #verify(): Promise<VerifiedMetadata> {
    const { storage, clock } = this.#context;
    const where = storage.where(places.public);
    const bytes = await readReleaseMetadata(storageReader(storage), { where });
    return verifyMetadata(bytes, { nowMs: clock.now(), where, mayExpire: () => true });
  }

  #lookAtRoles({ state }: Repository, { versions, expiresMs }: VerifiedMetadata): void {
    for (const [role, version] of Object.entries(versions)) {
      const secondsLeft = Math.floor((expiresMs[role]! - this.#context.clock.now()) / 1000);
      const { resignSeconds } = state.config[role as keyof typeof state.config & 'root'];
      const expires = new Date(expiresMs[role]!).toISOString();
      const due = secondsLeft < resignSeconds;
      this.status.roles[role] = { version, expires, secondsLeft, due };
      const fix = howToSign(role as Role);
      if (secondsLeft <= 0) this.#failed(expired(role, expires, fix));
      else if (due) this.#advise('role-due', `It has to be signed again before ${expires}.`, role, fix);
      if (version < newestSeen(state, role, version)) {
        this.#advise('behind-seen', 'Clients have seen a higher version; they refuse this one.', role, fix);
      }
    }
  }

  #lookAtChannels({ channels }: VerifiedMetadata): void {
    for (const [channel, { current, serial, yanked }] of Object.entries(channels)) {
      this.status.channels[channel] = { version: current.version, serial };
      if (!yanked.includes(current.version)) continue;
      this.#advise(
        'current-withdrawn',
        `It points at ${current.version}, which was withdrawn: no node starts it.`,
        `channel ${channel}`,
        `pilotage release promote VERSION ${channel}, then release publish`,
      );
    }
  }

  async #try<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof PilotageError)) throw error;
      this.#failed(error, RECOVERABLE.test(error.code) ? RECOVER : undefined);
      return undefined;
    }
  }

  #failed(error: PilotageError, fix = error.fix ?? 'See the message.'): void {
    const { code, message, where = this.#context.storage.name } = error;
    this.errors.push(error);
    this.status.problems.push({
      code,
      message,
      where,
      fix,
      severity: 'error',
    });
  }

  #advise(code: string, message: string, where: string, fix: string): void {
    this.status.problems.push({ code, message, where, fix, severity: 'advice' });
  }
}

const howToSign = (role: Role): string =>
  role === 'timestamp' || role === 'snapshot'
    ? 'pilotage release refresh'
    : `pilotage release resign ${role}, then release publish`;

const expired = (role: string, expires: string, fix: string) =>
  signingError({
    code: 'E_TUF_EXPIRED',
    message: `The signature of the role "${role}" expired on ${expires}.`,
    where: `role ${role}`,
    fix,
  });

const rotationUnfinished = (where: string, version: number) =>
  signingError({
    code: 'E_TUF_SIGNATURE',
    message: `The timestamp is not signed for root ${version}: a publish was cut short, and clients refuse it.`,
    where,
    fix: 'pilotage release publish',
  });
