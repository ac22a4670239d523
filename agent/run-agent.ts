import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Bootstrap, VerifiedRelease } from '../lib/protocol/release.ts';
import type { AgentConfig } from './config/schema.ts';
import { forgetBootstrap } from './bootstrap-file.ts';
import type { PilotContext } from './pilot-context.ts';
import type { AttemptOutcome } from './report-attempt.ts';
import type { PilotIdentity } from './pilot-identity.ts';
import { ReleaseWatch } from './release-watch.ts';
import { runAttempt } from './run-attempt.ts';
import { askStore, findStoreAccess } from './store-access.ts';
import { runStep } from './step.ts';
import { acquireJob } from './steps/acquire-job.ts';
import { checkDisk, checkNode, offer } from './steps/check-node.ts';
import type { NodeFacts } from './steps/check-node.ts';
import { TrustAnchors } from './trust-anchors.ts';
import { keepUp } from './upkeep.ts';
import { enrol } from './steps/enrol.ts';

export interface AgentOptions {
  bootstrap: Bootstrap;
  /** Removed once its secret is redeemed. */
  bootstrapFile: string;
  verified: VerifiedRelease | null;
  /** Directory that the pilot may write in; holds payload.pgid, results and the attempts' directories. */
  sandbox: string;
  /** The store of this node, as the wrapper names it. */
  storeDirectory?: string | undefined;
  config: AgentConfig;
  stopping: AbortSignal;
  hurry: AbortSignal;
  clock: Clock;
  log: Logger;
}

/** The pilot's last words, one line on stdout. */
export interface AgentSummary {
  pilotId: string | null;
  /** Jobs begun; the sum of the five that follow. */
  jobs: number;
  finished: number;
  failed: number;
  cancelled: number;
  returned: number;
  dropped: number;
  /** Why the pilot ended. */
  reason: EndReason;
  seconds: number;
}

export type EndReason =
  | 'idle'
  | 'max-jobs'
  | 'lifetime'
  | 'drain'
  | 'revoked'
  | 'terminated'
  | 'refused'
  | 'unreachable'
  | 'unfit'
  | 'failed';

/** So many jobs in a row that fail by the pilot's own fault, and it is the node that is broken: no job may follow them. */
const MAX_OWN_FAULTS = 2;
/** Between two requests for a job at least, whatever the server asks for. */
const MIN_PAUSE_SECONDS = 0.05;

/** Shortest time left in which asking for another job makes sense. */
const LEAST_SECONDS_LEFT = 1;

/**
 * The life of a pilot: check-node, enrol, then jobs one after the other, then leave.
 *
 * @throws E_NODE_UNFIT, E_ENROLMENT_REFUSED, or E_UNREACHABLE and its like when no server took the enrolment.
 */
export async function runAgent(options: AgentOptions): Promise<AgentSummary> {
  const { bootstrap, config, clock, log, stopping } = options;
  const release = options.verified?.release ?? null;
  const step = { clock, log, signal: stopping };
  const facts = await runStep('check-node', { ...step, maxSeconds: 30 }, () =>
    checkNode(options.sandbox, config),
  );
  log.info({ ...facts }, 'node checked');
  const { identity } = await runStep(
    'enrol',
    { ...step, maxSeconds: config.enrolPatienceSeconds + 60 },
    signal =>
      enrol({
        bootstrap,
        release,
        node: facts.node,
        patienceSeconds: config.enrolPatienceSeconds,
        signal,
        clock,
        log,
      }),
  );
  await forgetBootstrap(options.bootstrapFile);
  const pilotLog = log.child({ pilotId: identity.pilotId });
  pilotLog.info(
    { sinceStartMs: Math.round(process.uptime() * 1000), rssBytes: process.memoryUsage.rss() },
    'enrolled',
  );
  const ending = new AbortController();
  const care = await takeCare(options, identity, pilotLog, ending.signal);
  const pilot: PilotContext = { ...options, release, node: facts.node, identity, ...care, log: pilotLog };
  const tally = { finished: 0, failed: 0, cancelled: 0, returned: 0, dropped: 0 };
  try {
    const reason = await takeJobs(pilot, facts, outcome => (tally[outcome] += 1)).catch(
      async (error: unknown) => {
        await leave(pilot, 'failed', sum(tally));
        throw error;
      },
    );
    const jobs = sum(tally);
    await leave(pilot, reason, jobs);
    const seconds = Math.round(clock.monotonic()) / 1000;
    return { pilotId: identity.pilotId, jobs, ...tally, reason, seconds };
  } finally {
    ending.abort(new DOMException('the pilot ends', 'AbortError'));
    await care.watch.close();
    await care.upkeep;
    await identity.close();
  }
}

/** What goes on beside the jobs for as long as the pilot lives: it hears of revocations, and renews trust anchors. */
async function takeCare(
  options: AgentOptions,
  identity: PilotIdentity,
  log: Logger,
  signal: AbortSignal,
): Promise<Pick<PilotContext, 'watch' | 'trust'> & { upkeep: Promise<void> }> {
  const { config, clock, sandbox, verified } = options;
  const access = await findStoreAccess({ ...options, log });
  const floors = () => identity.floors;
  const ask = access && verified && askStore(access, verified.release, log);
  const watch = new ReleaseWatch({ ask, floors, clock, log });
  const trust = new TrustAnchors({ mode: config.trust, access, sandbox, floors, log });
  await trust.renew(AbortSignal.any([signal, options.stopping]));
  const upkeep = keepUp({ everySeconds: config.recheckSeconds, clock, signal }, async () => {
    await watch.look();
    await trust.renew(signal);
  });
  return { watch, trust, upkeep };
}

const sum = (tally: Record<string, number>): number =>
  Object.values(tally).reduce((total, count) => total + count, 0);

async function takeJobs(
  pilot: PilotContext,
  facts: NodeFacts,
  count: (outcome: AttemptOutcome) => void,
): Promise<EndReason> {
  const { config, clock, log, stopping, watch } = pilot;
  const noMoreJobs = AbortSignal.any([stopping, watch.withdrawn]);
  const endsAt = clock.monotonic() + config.lifetimeSeconds * 1000;
  let idleSince = clock.monotonic();
  let ownFaults = 0;
  if (!pilot.trust.ready && !stopping.aborted) {
    log.error({ trust: config.trust }, 'the trust anchors that every job needs cannot be had');
    return 'unfit';
  }
  for (let jobs = 0; jobs < config.maxJobs;) {
    if (stopping.aborted) return 'terminated';
    if (watch.standing !== 'in force') return 'revoked';
    await pilot.identity.renewIfDue();
    const secondsLeft = (endsAt - clock.monotonic()) / 1000 - config.killGraceSeconds;
    const idleLeft = config.idleSeconds - (clock.monotonic() - idleSince) / 1000;
    if (secondsLeft < LEAST_SECONDS_LEFT) return 'lifetime';
    const disk = await checkDisk(pilot.sandbox, config).catch((error: unknown) => {
      log.error({ err: error }, 'this node takes no more jobs');
    });
    if (disk === undefined) return 'unfit';
    const acquired = await acquireJob({
      api: pilot.identity.api,
      release: pilot.release,
      node: facts.node,
      resources: offer({ ...facts, diskBytes: config.diskBytes ?? disk }, secondsLeft),
      config,
      waitSeconds: Math.max(0, Math.min(config.waitSeconds, idleLeft, secondsLeft)),
      signal: noMoreJobs,
    }).catch((error: unknown) => {
      if (noMoreJobs.aborted) return { kind: 'drain' as const, because: null };
      throw error;
    });
    // A lease that came at the last moment goes back with the pilot's leaving; after SIGTERM it is handed back below.
    if (noMoreJobs.aborted && (acquired.kind !== 'lease' || !stopping.aborted)) continue;
    if (acquired.kind === 'drain') return acquired.because === 'release-revoked' ? 'revoked' : 'drain';
    if (acquired.kind === 'refused') {
      log.error({ err: acquired.error }, 'the server takes no more requests of this pilot');
      return 'refused';
    }
    if (acquired.kind === 'lease') {
      const { outcome, cause } = await runAttempt(acquired.lease, pilot);
      count(outcome);
      jobs += 1;
      ownFaults = cause?.code === 'PILOT_ERROR' ? ownFaults + 1 : 0;
      if (ownFaults >= MAX_OWN_FAULTS) {
        log.error({ cause }, 'this node fails one job after the other');
        return 'unfit';
      }
      await watch.lookBetweenPayloads();
      idleSince = clock.monotonic();
      continue;
    }
    const idleMs = clock.monotonic() - idleSince;
    log.info(
      acquired.kind === 'nothing' ? { refusals: acquired.refusals } : { err: acquired.error },
      'no job',
    );
    if (idleMs >= config.idleSeconds * 1000) return acquired.kind === 'nothing' ? 'idle' : 'unreachable';
    const waitSeconds = acquired.kind === 'nothing' ? Math.max(acquired.retrySeconds, MIN_PAUSE_SECONDS) : 1;
    const waitMs = Math.min(waitSeconds * 1000, config.idleSeconds * 1000 - idleMs);
    await clock.sleep(waitMs, noMoreJobs).catch(() => undefined);
  }
  return 'max-jobs';
}

/** Frees the pilot's place under the cap at once; when no server hears it, its lease frees it later. */
async function leave(pilot: PilotContext, reason: EndReason, jobsDone: number): Promise<void> {
  if (reason === 'refused') return;
  await pilot.identity.api
    .call('leavePilot', {
      body: { reason, jobsDone },
      patienceSeconds: pilot.hurry.aborted ? 0 : 5,
      timeoutSeconds: 5,
    })
    .catch((error: unknown) => pilot.log.warn({ err: error }, 'leaving was not heard'));
}
