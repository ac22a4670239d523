import { Agent } from 'undici';
import { writeFileAtomic } from '../lib/files.ts';
import type { Logger } from '../lib/log.ts';
import type { Cause, Lease } from '../lib/protocol/job.ts';
import { BoundedLog } from './bounded-log.ts';
import { causeOf } from './errors.ts';
import { Heartbeats, isGone } from './heartbeats.ts';
import type { Progress } from './heartbeats.ts';
import { payloadEnvironment } from './payload-command.ts';
import type { PilotContext, Work } from './pilot-context.ts';
import { reportAttempt } from './report-attempt.ts';
import type { AttemptOutcome } from './report-attempt.ts';
import { groupFileOf, makeAttemptDirectories, removeAttemptDirectories } from './sandbox.ts';
import type { AttemptPaths } from './sandbox.ts';
import { runStep } from './step.ts';
import { fetchPayloadCredential } from './steps/payload-credential.ts';
import { runPayload } from './steps/run-payload.ts';
import type { PayloadResult } from './steps/run-payload.ts';
import { stageIn } from './steps/stage-in.ts';
import { stageOut } from './steps/stage-out.ts';
import { killed, revoked, stopReasonOf, terminated } from './stop.ts';

/**
 * One attempt, from its lease to its result: stage-in, payload credential, run-payload, stage-out, logs, complete; with
 * heartbeats from beginning to end. Never throws: what fails becomes the attempt's cause of death.
 */
export async function runAttempt(
  lease: Lease,
  pilot: PilotContext,
): Promise<{ outcome: AttemptOutcome; cause: Cause | null }> {
  const { clock } = pilot;
  const log = pilot.log.child({ jobId: lease.jobId, attemptId: lease.attemptId });
  const started = clock.monotonic();
  const stop = new AbortController();
  const handBack = () => stop.abort(terminated('SIGTERM'));
  if (pilot.stopping.aborted) handBack();
  else pilot.stopping.addEventListener('abort', handBack, { once: true });
  const { killed: killedRelease } = pilot.watch;
  const endRevoked = () => stop.abort(revoked(String(killedRelease.reason)));
  if (killedRelease.aborted) endRevoked();
  else killedRelease.addEventListener('abort', endRevoked, { once: true });
  const work: Work = { inputs: [], outputs: [], usage: { wallSeconds: 0 }, cause: null };
  const progress: { now: () => Progress } = { now: () => ({ state: 'starting' }) };
  const heartbeats = new Heartbeats({
    api: () => pilot.identity.api,
    lease,
    progress: () => progress.now(),
    onCommand: command => {
      if (command.because === 'release-revoked') pilot.watch.note('killed', command.reason);
      else if (command.verb === 'kill') stop.abort(killed(command.reason));
      else heartbeats.reportNow();
    },
    onGone: code => stop.abort({ kind: 'gone', code }),
    onBeat: () => pilot.identity.renewIfDue(),
    clock,
    log,
  });
  const logs: BoundedLog[] = [];
  let paths: AttemptPaths | undefined;
  try {
    paths = await makeAttemptDirectories(pilot.sandbox, lease.attemptId);
    await doWork({ started, lease, pilot, log, stop: stop.signal, paths, logs, work, progress, heartbeats });
  } catch (error) {
    const reason = stopReasonOf(stop.signal);
    if (isGone(error)) stop.abort({ kind: 'gone', code: error.code });
    work.cause = reason === undefined || reason.kind === 'gone' ? causeOf(error) : reason.cause;
  } finally {
    pilot.stopping.removeEventListener('abort', handBack);
    killedRelease.removeEventListener('abort', endRevoked);
  }
  // The lease is kept until the result is answered: long logs, or a server that stumbles, must not cost it.
  let outcome: AttemptOutcome;
  try {
    outcome = await reportAttempt({ lease, pilot, log, stop: stop.signal, logs, work });
  } finally {
    await heartbeats.stop();
  }
  log.info({ outcome, cause: work.cause, ms: Math.round(clock.monotonic() - started) }, 'attempt ended');
  await Promise.all(logs.map(stream => stream.close()));
  const left = paths && (await removeAttemptDirectories(paths));
  if (left !== undefined) log.warn({ problem: left }, 'the work directory could not be removed');
  return { outcome, cause: work.cause };
}

interface WorkContext {
  /** When the lease was taken, by the monotonic clock. */
  started: number;
  lease: Lease;
  pilot: PilotContext;
  log: Logger;
  stop: AbortSignal;
  paths: AttemptPaths;
  /** Filled with stdout and stderr once they exist. */
  logs: BoundedLog[];
  work: Work;
  progress: { now: () => Progress };
  heartbeats: Heartbeats;
}

async function doWork(context: WorkContext): Promise<void> {
  const { lease, pilot, log, stop, paths, work, progress, heartbeats } = context;
  const { definition } = lease;
  const { config, clock } = pilot;
  const step = { clock, log, signal: stop };
  const dispatcher = new Agent({ connections: 8, connect: { timeout: 15_000 } });
  try {
    // The credential needs nothing of the inputs: both are fetched at the same time.
    const credential = runStep('payload-credential', { ...step, maxSeconds: 120 }, async signal => {
      await writeFileAtomic(paths.serverCa, pilot.bootstrap.serverCa, { mode: 0o600 });
      await fetchPayloadCredential({ api: pilot.identity.api, lease, file: paths.credential, signal });
    });
    credential.catch(() => undefined);
    if (definition.inputs.length > 0) {
      heartbeats.reportNow();
      work.inputs = await runStep('stage-in', { ...step, maxSeconds: config.stageSeconds }, signal =>
        stageIn({
          inputs: definition.inputs,
          workDirectory: paths.work,
          temporaryDirectory: paths.private,
          maxBytes: definition.limits.diskBytes,
          concurrency: config.stageConcurrency,
          dispatcher,
          signal,
          clock,
          log,
        }),
      );
    }
    await credential;
    stop.throwIfAborted();
    const result = await payloadStep(context);
    work.usage = result.usage;
    work.cause = result.cause;
    if (result.cause !== null || result.stopped || definition.outputs.length === 0) return;
    const ended = progress.now();
    progress.now = () => ({ ...ended, state: 'transferring' });
    heartbeats.reportNow();
    work.outputs = await runStep('stage-out', { ...step, maxSeconds: config.stageSeconds }, signal =>
      stageOut({
        outputs: definition.outputs,
        outputUrl: definition.outputUrl,
        ...lease,
        workDirectory: paths.work,
        maxBytes: definition.limits.diskBytes,
        concurrency: config.stageConcurrency,
        dispatcher,
        signal,
        clock,
        log,
      }),
    );
  } finally {
    await dispatcher.destroy();
  }
}

async function payloadStep(context: WorkContext): Promise<PayloadResult> {
  const { started, lease, pilot, log, stop, paths, logs, progress, heartbeats } = context;
  const { config, bootstrap, clock } = pilot;
  const { definition } = lease;
  const stdout = await BoundedLog.create(`${paths.private}/stdout.log`, definition.limits.logBytes);
  logs.push(stdout);
  const stderr = await BoundedLog.create(`${paths.private}/stderr.log`, definition.limits.logBytes);
  logs.push(stderr);
  const environment = payloadEnvironment(
    {
      jobId: lease.jobId,
      attemptId: lease.attemptId,
      attemptNumber: lease.attemptNumber,
      instance: bootstrap.instance,
      cores: definition.cores,
      workDirectory: paths.work,
      temporaryDirectory: paths.temporary,
      path: config.path,
      credentialFile: paths.credential,
      servers: bootstrap.servers,
      serverCaFile: paths.serverCa,
      trust: pilot.trust.environment,
    },
    definition.environment,
  );
  const maxSeconds = definition.limits.wallSeconds + config.killGraceSeconds + 60;
  // Not aborted by `stop`: the payload's supervisor ends it, and says what it used.
  return runStep('run-payload', { clock, log, maxSeconds }, () =>
    runPayload({
      attemptId: lease.attemptId,
      definition,
      environment,
      workDirectory: paths.work,
      directories: [paths.work, paths.temporary],
      privateDirectory: paths.private,
      groupFile: groupFileOf(pilot.sandbox),
      path: environment.PATH!,
      stdout,
      stderr,
      sampleMs: config.sampleMs,
      killGraceSeconds: config.killGraceSeconds,
      stop,
      hurry: pilot.hurry,
      clock,
      log,
      onStart: usage => {
        log.info({ sinceAcquireMs: Math.round(clock.monotonic() - started) }, 'payload runs');
        progress.now = () => ({
          state: 'running',
          usage: usage(),
          tail: { stdout: stdout.tail(), stderr: stderr.tail() },
        });
        heartbeats.reportNow();
      },
    }),
  );
}
